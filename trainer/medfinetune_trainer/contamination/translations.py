"""Sentences with their translations, written for this purpose: what a model must find to be the same before it compares across their languages."""

from __future__ import annotations

_ENGLISH_KOREAN = (
    ("A 62-year-old man has had crushing chest pain for two hours.", "62세 남자가 2시간 전부터 가슴을 쥐어짜는 듯한 통증을 호소한다."),
    ("Which drug is the first choice for hypertension in pregnancy?", "임신부의 고혈압에 가장 먼저 선택하는 약은 무엇인가?"),
    ("The child has a fever, a barking cough and stridor.", "아이가 열이 나고 개 짖는 듯한 기침과 협착음을 보인다."),
    ("How long is the incubation period of hepatitis A?", "A형 간염의 잠복기는 얼마나 되는가?"),
    ("The patient's serum potassium is 6.8 mmol/L.", "환자의 혈청 칼륨 농도는 6.8 mmol/L이다."),
    ("Which nerve is injured when the wrist drops?", "손목이 처지는 경우 어느 신경이 손상된 것인가?"),
    ("Insulin lowers blood glucose by moving it into the cells.", "인슐린은 포도당을 세포 안으로 이동시켜 혈당을 낮춘다."),
    ("What should a nurse do first when a transfusion reaction occurs?", "수혈 부작용이 생겼을 때 간호사가 가장 먼저 해야 할 일은 무엇인가?"),
    ("She was diagnosed with iron deficiency anaemia.", "그녀는 철 결핍 빈혈로 진단받았다."),
    ("Antibiotics do not help against a common cold.", "항생제는 감기에 효과가 없다."),
    ("Which bacterium most often causes infections of the urinary tract?", "요로 감염을 가장 흔히 일으키는 세균은 무엇인가?"),
    ("The tooth is loose and the gums bleed when they are probed.", "치아가 흔들리고 탐침할 때 잇몸에서 피가 난다."),
)
_KNOWN = {("en", "ko"): _ENGLISH_KOREAN}


def translations(first: str, second: str) -> tuple[tuple[str, str], ...]:
    """Pairs of a sentence in `first` and in `second`, primary language tags; none where none are known."""
    if (first, second) in _KNOWN:
        return _KNOWN[first, second]
    return tuple((one, other) for other, one in _KNOWN.get((second, first), ()))
