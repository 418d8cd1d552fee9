"""What counts as the same question: properties of normalisation and n-grams, and planted questions found at stated recall in both languages."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medfinetune_api.results_screening import Detection, Unit
from medfinetune_trainer.contamination.buckets import FOUND, bands
from medfinetune_trainer.contamination.containment import least_share, runs
from medfinetune_trainer.contamination.items import Item, item_of
from medfinetune_trainer.contamination.matching import Questions, keys_of
from medfinetune_trainer.contamination.ngrams import Grams, jaccard, shingles
from medfinetune_trainer.contamination.repeats import Repeats
from medfinetune_trainer.contamination.texts import normalise, question_views, record_views
from medfinetune_trainer.data.records import Message, Record

THRESHOLD = 0.5
FEW_GRAMS = Grams(Unit.WORDS, 2, 1)

SENTENCES = {
    "en": (
        "A {n}-year-old man comes to the emergency department because of chest pain that began {n} minutes ago.",
        "A {n}-year-old woman is brought to her physician by her daughter, who noticed increasing forgetfulness over {n} months.",
        "He has smoked one pack of cigarettes daily for {n} years and drinks two glasses of wine with dinner.",
        "She takes metformin and lisinopril but stopped both {n} days ago.",
        "On examination there is a harsh systolic murmur that radiates to the carotid arteries, grade {n}.",
        "Laboratory studies show a serum sodium of 1{n} mEq/L and a leukocyte count of {n},000 per cubic millimetre.",
        "An X-ray shows a wedge-shaped consolidation in the right lower lobe, {n} mm across.",
        "His temperature is 38.{n} degrees, his pulse 1{n} a minute and his blood pressure 1{n}/70 mm Hg.",
        "Three weeks earlier she travelled through rural Thailand, where she swam in {n} rivers.",
        "A biopsy of the lesion shows noncaseating granulomas around {n} vessels.",
        "The neurologic examination reveals weakness of {n} out of 5 in the left arm.",
        "Family history includes colon cancer in an uncle who died at {n}.",
    ),
    "ko": (
        "{n}세 남자가 {n}분 전부터 시작된 가슴 통증으로 응급실에 왔다.",
        "{n}세 여자가 {n}개월 동안 기억력이 떨어져 딸과 함께 외래에 왔다.",
        "환자는 {n}년간 매일 담배를 한 갑씩 피웠고 저녁마다 포도주를 두 잔 마신다.",
        "메트포르민과 리시노프릴을 복용하다가 {n}일 전에 모두 중단하였다.",
        "진찰에서 목동맥으로 퍼지는 거친 수축기 심잡음 {n}등급이 들린다.",
        "혈액검사에서 혈청 나트륨은 1{n} mEq/L이고 백혈구는 {n},000개로 증가하였다.",
        "흉부 사진에서 오른쪽 아래엽에 {n} mm 크기의 쐐기 모양 경화가 보인다.",
        "체온은 38.{n}도, 맥박은 분당 1{n}회, 혈압은 1{n}/70 mmHg이다.",
        "3주 전에 태국의 시골을 여행하면서 강 {n}곳에서 수영을 하였다.",
        "병변의 조직검사에서 혈관 {n}개 주위에 비건락성 육아종이 관찰된다.",
        "신경학적 진찰에서 왼쪽 팔의 근력이 5점 만점에 {n}점이다.",
        "가족력으로 삼촌이 대장암으로 {n}세에 사망하였다.",
    ),
}
ASKED = {"en": "Which of the following is the most likely diagnosis?", "ko": "가장 가능성이 높은 진단은 무엇인가?"}
DISEASES = {
    "en": [
        "aortic stenosis",
        "lobar pneumonia",
        "sarcoidosis",
        "hyponatraemia",
        "dementia",
        "leptospirosis",
        "stroke",
        "endocarditis",
        "pulmonary embolism",
        "gout",
    ],
    "ko": ["대동맥판협착", "대엽성 폐렴", "사르코이드증", "저나트륨혈증", "치매", "렙토스피라증", "뇌졸중", "심내막염", "폐색전증", "통풍"],
}
SYNONYMS = {"en": "subsequently", "ko": "이후에"}


def record(language: str, question: str, options: Sequence[str] = (), answer: str = "", line: int = 1) -> Record:
    """An exam where there are options, else free text."""
    turns = Message("user", question), Message("assistant", answer or "A")
    plain = Record(f"file:{line}", str(line), "source", language, "", "", turns)
    return replace(plain, question=question, options=tuple(options), choices=tuple("ABCDE"[: len(options)]), answer=0) if options else plain


def asked(number: int, of: Record) -> Item:
    return item_of(0, number, of, question_views(of), embedded=False)


def trained(number: int, of: Record) -> Item:
    return item_of(0, number, of, record_views(of), embedded=False)


def found(questions: Sequence[Record], records: Sequence[Record], threshold: float = THRESHOLD) -> dict[tuple[int, int], Detection]:
    """(question, record), from 0 -> how it was found."""
    items = [trained(number, each) for number, each in enumerate(records, start=1)]
    lookup = Questions([asked(number, each) for number, each in enumerate(questions, start=1)], threshold)
    matches = lookup.matches(items, keys_of(items, threshold))
    return {(question, row): match.found_by for row, found in enumerate(matches) for question, match in found.items()}


@given(st.text())
def test_normalising_twice_is_normalising_once(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Aspirin, 1.5 mg", "ＡＳＰＩＲＩＮ  1.5 mg", True),
        ("the so-called β-blocker", "The so called ß-blocker?", False),
        ("β-blocker (oral)", "Β BLOCKER ORAL", True),
        ("심근 경색.", "심근경색", True),
        ("1.5 mg", "15 mg", False),
        ("120/80", "12080", False),
        ("T-score of -2.5", "T-score of 2.5", False),
        ("pH > 7", "pH < 7", False),
        ("हिन्दी", "हनद", False),
    ],
)
def test_what_normalisation_takes_for_the_same(one: str, other: str, same: bool) -> None:
    assert (normalise(one).replace(" ", "") == normalise(other).replace(" ", "")) is same


@given(st.lists(st.text("abc ", max_size=12), max_size=5), st.lists(st.text("abc ", max_size=12), max_size=5))
def test_similarity_is_that_of_sets_and_symmetric(one: list[str], other: list[str]) -> None:
    a, b = shingles(one, FEW_GRAMS), shingles(other, FEW_GRAMS)
    common, union = len(set(a.tolist()) & set(b.tolist())), len(set(a.tolist()) | set(b.tolist()))
    assert jaccard(a, b) == jaccard(b, a) == (common / union if union else 0)
    assert jaccard(a, a) == (1 if a.size else 0)


words = st.lists(st.sampled_from(["fever", "cough", "pain", "rash", "heart", "lung", "liver", "left", "right", "bone"]), min_size=14, max_size=20).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(st.lists(words, min_size=1, max_size=5), st.lists(words, min_size=1, max_size=5), st.sampled_from([0.3, 0.5, 0.8]))
def test_every_question_is_found_with_itself_and_nothing_below_the_threshold(asked_: list[str], known: list[str], threshold: float) -> None:
    questions, records = ([record("en", text) for text in texts] for texts in (asked_, [*known, *asked_]))
    pairs = found(questions, records, threshold)
    assert all(pairs[k, len(known) + k] is Detection.EXACT for k in range(len(asked_)))
    for (question, row), method in pairs.items():
        (one,), others = ([set(text.shingles.tolist()) for text in item.texts] for item in (asked(1, questions[question]), trained(1, records[row])))
        near = any(len(one & other) >= min(threshold * len(one | other), least_share(threshold) * len(one)) for other in others if one and other)
        assert method is not Detection.NGRAM or near


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.8, 1.0])
def test_texts_at_the_threshold_are_likely_to_share_a_bucket(threshold: float) -> None:
    count, rows = bands(threshold)
    assert 1 - (1 - threshold**rows) ** count >= FOUND


def vignettes(language: str, count: int, seed: int) -> list[Record]:
    """Cases of five sentences, drawn, with drawn numbers and four drawn diagnoses."""
    drawn = random.Random(seed)
    return [case(language, drawn.sample(SENTENCES[language], 5), drawn) for _ in range(count)]


def case(language: str, sentences: Sequence[str], drawn: random.Random) -> Record:
    filled = [each.replace("{n}", str(drawn.randint(10, 99))) for each in sentences]
    return record(language, " ".join([*filled, ASKED[language]]), drawn.sample(DISEASES[language], 4))


def related(language: str, count: int, seed: int) -> list[Record]:
    """For each of `vignettes` another case: two of its five sentences with other numbers, three other sentences, the same question, options drawn anew."""
    drawn, others, made = random.Random(seed), random.Random(seed + 1), []
    for _ in range(count):
        sentences = drawn.sample(SENTENCES[language], 5)
        case(language, sentences, drawn)  # draws what `vignettes` draws
        rest = [each for each in SENTENCES[language] if each not in sentences]
        made.append(case(language, [*sentences[:2], *others.sample(rest, 3)], others))
    return made


def reworded(text: str, share: float, language: str, drawn: random.Random) -> str:
    """`text` with a share of its words deleted, moved or replaced, each as often."""
    words_ = text.split()
    for _ in range(round(share * len(words_))):
        at, edit = drawn.randrange(len(words_)), drawn.randrange(3)
        if edit == 0:
            del words_[at]
        elif edit == 1:
            words_.insert(drawn.randrange(len(words_)), words_.pop(at))
        else:
            words_[at] = SYNONYMS[language]
    return " ".join(words_)


def planted(questions: Iterable[Record], share: float, language: str) -> list[Record]:
    """The same cases reworded, their options in another order."""
    drawn = random.Random(1)
    return [record(language, reworded(each.question, share, language, drawn), drawn.sample(each.options, 4)) for each in questions]


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize(("share", "recall"), [(0.0, 1.0), (0.05, 1.0), (0.1, 0.97), (0.15, 0.6)])
def test_planted_questions_are_found_and_other_cases_of_the_same_kind_are_not(language: str, share: float, recall: float) -> None:
    questions = vignettes(language, 100, seed=0)
    pairs = found(questions, [*planted(questions, share, language), *related(language, 100, seed=0)])
    assert sum((k, k) in pairs for k in range(100)) >= recall * 100
    assert sum((k, 100 + k) in pairs for k in range(100)) <= 1


def test_a_question_is_known_again_in_free_text_and_a_form_is_not() -> None:
    (vignette,) = vignettes("en", 1, seed=3)
    lettered = "\n".join(f"{letter}. {option}" for letter, option in zip("ABCD", vignette.options, strict=True))
    chat = record("en", f"Question: {vignette.question.upper()}\n{lettered}\nAnswer:", answer="The murmur tells it: " + " ".join(vignette.options))
    explained = record("en", vignette.question, answer="It is " + vignette.options[0])
    form = record("en", ASKED["en"], ["gout", "stroke"])
    same_form = record("en", ASKED["en"], ["sarcoidosis", "dementia"])
    pairs = found([vignette, form], [chat, explained, same_form, record("en", ASKED["en"])])
    assert pairs == {(0, 0): Detection.NORMALISED, (0, 1): Detection.EXACT}


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_question_is_known_again_within_a_longer_text(language: str) -> None:
    """One of several in a conversation, after a long instruction, or in the system's turn, word for word; and other cases of the same kind are none of them."""
    questions = vignettes(language, 40, seed=6)
    lettered = ["\n".join([each.question, *(f"{letter}) {option}" for letter, option in zip("ABCD", each.options, strict=True))]) for each in questions]
    preface = " ".join(f"word{number}" for number in range(120))

    def chat(*turns: tuple[str, str]) -> Record:
        return replace(record(language, ""), messages=tuple(Message(role, text) for role, text in turns))

    rounds = [(("user", one), ("assistant", "A"), ("user", other), ("assistant", "B")) for one, other in zip(lettered[::2], lettered[1::2], strict=True)]
    records = [
        *(chat(*turns) for turns in rounds),
        *(chat(("user", f"{preface}\n{text}"), ("assistant", "A")) for text in lettered),
        *(chat(("system", text), ("user", "Go on."), ("assistant", "A")) for text in lettered),
        *(chat(("user", f"{preface}\n{each.question}"), ("assistant", "A")) for each in related(language, 40, seed=6)),
    ]
    pairs = found(questions, records).keys()
    assert all((at, row) in pairs for at in range(40) for row in (at // 2, 20 + at, 60 + at))
    assert not any((at, 100 + at) in pairs for at in range(40))


SHORT = {
    "en": ("In which disorders is the Reed-Sternberg cell typically found?", ["Hodgkin lymphoma", "Myeloma"], "Sickle cell disease"),
    "ko": ("호지킨 림프종의 조직검사에서 보이는 특징적 세포는?", ["리드-스턴버그", "형질세포"], "낫적혈구"),
}


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_question_too_short_for_ngrams_is_known_again_word_for_word(language: str) -> None:
    """Inside a longer text, its options in one line with it or left out; not with a word or a number changed, and not as a form."""
    stem, options, other = SHORT[language]
    around = " ".join(SENTENCES[language][:3])
    inside = [f"{around}\n{stem} {' / '.join(options)}\n{around}", f"{around} {stem.upper()} {around}", f"{around} {stem[:12]}{other}{stem[12:]} {around}"]
    question, form = record(language, stem, options), record(language, ASKED[language], options)
    assert not trained(1, question).texts[0].shingles.size
    assert found([question, form], [record(language, text) for text in inside]).keys() == {(0, 0), (0, 1)}
    doses = [record(language, stem, ["5 mg", "15 mg"]), record(language, f"{around}\n{stem[:9]}\n115 mg\n25 mg"), record(language, f"{stem}\n115 mg, 2.5 mg")]
    assert found([doses[0]], doses[1:]) == {(0, 1): Detection.NORMALISED}  # by its stem; the doses are others


def test_an_instruction_that_all_questions_share_is_no_question() -> None:
    shared = "You are a careful physician. Read what the patient asks, answer in plain words with the evidence, and say when to see a doctor at once.\n"
    asked_ = [record("en", shared + f"What helps against {disease}?") for disease in DISEASES["en"]]
    known = [record("en", f"{shared}{each.question}\n{' '.join(SENTENCES['en'])}") for each in vignettes("en", 20, seed=7)]
    assert found(asked_, known) == {}


@given(st.text("abc가나", max_size=40), st.sampled_from([8, 16]))
def test_runs_are_equal_where_their_characters_are(text: str, width: int) -> None:
    windows = [text[at : at + width] for at in range(len(text) - width + 1)]
    hashes = runs(text, width).tolist()
    assert len(hashes) == len(windows)
    assert len(set(zip(windows, hashes, strict=True))) == len(set(windows)) == len(set(hashes))


def test_the_order_of_options_does_not_matter_and_a_number_does() -> None:
    stem, options = "The dose of the drug in milligrams per kilogram is", ["1.5", "15", "0.15", "150"]
    same, other = record("en", stem, options[::-1]), record("en", stem, ["1.5", "15", "0.15", "1500"])
    assert found([record("en", stem, options)], [same]) == {(0, 0): Detection.EXACT}
    assert Detection.NORMALISED not in found([record("en", stem, options)], [other]).values()


@given(st.lists(st.integers(0, 3), max_size=12))
@settings(max_examples=25, deadline=None)
def test_each_repeat_counts_once_under_the_strictest_method(tmp_path_factory: pytest.TempPathFactory, drawn: list[int]) -> None:
    cases = vignettes("en", 2, seed=4)
    forms = [cases[0], record("en", cases[0].question.upper(), cases[0].options), record("en", "Now. " + cases[0].question, cases[0].options), cases[1]]
    expected: dict[Detection, int] = dict.fromkeys(Detection, 0)
    for at, form in enumerate(drawn):
        earlier = drawn[:at]
        if form in earlier:
            expected[Detection.EXACT] += 1
        elif form < 2 and {0, 1} & set(earlier):
            expected[Detection.NORMALISED] += 1
        elif form < 3 and {0, 1, 2} & set(earlier):
            expected[Detection.NGRAM] += 1
    assert counted(tmp_path_factory.mktemp("repeats"), [forms[form] for form in drawn]) == expected


def counted(folder: Path, records: Sequence[Record]) -> dict[Detection, int]:
    repeats = Repeats(folder, THRESHOLD)
    items = [trained(number, each) for number, each in enumerate(records, start=1)]
    for start in range(0, len(items), 5):
        batch = items[start : start + 5]
        repeats.add(batch, keys_of(batch, THRESHOLD))
    pairs = repeats.count(similarity=1.0)
    return {method: pairs[0, 0, method] for method in Detection}


def test_vectors_that_point_one_way_repeat(tmp_path: Path) -> None:
    repeats, items = Repeats(tmp_path, THRESHOLD), [trained(1, each) for each in vignettes("ko", 3, seed=5)]
    repeats.add(items, keys_of(items, THRESHOLD))
    vectors: Any = np.array([[1, 0], [0, 1], [0.999, 0.04]], np.float32)
    repeats.add_vectors("ko", [0, 1, 2], vectors)
    assert dict(repeats.count(similarity=0.9)) == {(0, 0, Detection.EMBEDDING): 1}
