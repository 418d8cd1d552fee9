"""Korean: names after a label or before an honorific, dates of birth, road-name and lot addresses, labelled record numbers.

A Korean name is a surname of a closed list and one or two syllables, which many a word of medicine is, too: what a weak label is followed by must have three
syllables, end there or go on with a particle, and be none of the words below. Names are matched in composed syllables (Unicode's NFC), as `analyzer` makes
them.
"""

from __future__ import annotations

from medfinetune_api.results_privacy import PersonalData

from medfinetune_trainer.privacy.rules import COLON, GAP, Rule, any_of, spaced

_SURNAME = (
    "(?:남궁|황보|제갈|선우|독고|사공|서문|["
    "김이박최정강조윤장임한오서신권황안송류유전홍고문양손배백허남심노하곽성차주우구민나진지엄채원천방공현함변염여추도소석선설"
    "마길연위표명기반라왕금옥육인맹제모탁국어은편용"
    "])"
)
_NO_NAME = (
    "(?!고혈압|심부전|신부전|임산부|유방암|조현병|정신과|신생아|심장병|신경과|임신부|고령자|남학생|여학생|장애인|성인남"
    "|성인여|이상무|정상인|소아과|안정됨|전문의|주치의|선생님|원장님|심정지|고열로|구급대|노인성|지체장|여성환|어디가)"
)
"""Words of medicine that are written like names."""
_NAME = rf"{_SURNAME}(?:[가-힣]{{1,2}}|[ ][가-힣][ ]?[가-힣])"
_THREE = rf"{_NO_NAME}{_SURNAME}[가-힣]{{2}}"
_ENDS = r"(?=(?:님|씨|입니다|이고|이며|은|는|이|가|의|께|에게)?(?![가-힣]))"
_WRITTEN_ALONE = rf"[가-힣]{{2,5}}(?={GAP}(?:$|[,;/|()\n.]))"
_LATIN = r"\p{Lu}[\p{L}'-]{1,20}(?:,?[ ]\p{Lu}[\p{L}'-]{0,20}\.?){1,3}"
_CERTAIN = (
    rf"(?:환자|보호자|산모|수진자|피보험자){any_of(GAP + spaced('성명'), GAP + '명', '(?:의)?' + GAP + any_of(spaced('이름'), '성함'))}"
    rf"|(?<![가-힣])(?:{spaced('성명')}|성함)"
)
_POSSIBLE = rf"(?<![가-힣][ \t]?)(?:{spaced('이름')}|환자|보호자|주치의|담당의|담당의사|집도의|담당[ ]간호사|의사|간호사)"

NAMES = Rule(
    "KoreanLabelledName",
    PersonalData.PERSON,
    (
        rf"(?:{_CERTAIN})(?:{COLON}|(?:은|는)[ \t]+)\K{_NO_NAME}{any_of(_NAME + _ENDS, _THREE, _LATIN)}",
        rf"(?:{_CERTAIN})[ \t]+\K{_THREE}{_ENDS}",
        rf"(?:{_CERTAIN}){COLON}\K(?!미상|불명|익명|없음|비공개){_WRITTEN_ALONE}",
        rf"{_POSSIBLE}{COLON}\K{_THREE}{_ENDS}",
        rf"(?<![가-힣])환자[ \t]+\K{_THREE}(?=[ \t]*(?:님|씨|\([^)\n]{{0,3}}[남여\d]|,[ \t]*\d{{1,3}}세))",
        rf"(?<![가-힣]){_THREE}(?=[ \t]?(?:님|씨)(?:[은는이가의을를께]|[ \t,.]|$))",
        rf"(?<![가-힣]){_THREE}(?=[ \t]?\((?:남|여)[성자]?[ ]?[,/)])",
    ),
)

_DATE = any_of(r"(?:\d{4}|\d{2})년[ ]?\d{1,2}월[ ]?\d{1,2}일", r"(?:\d{4}|\d{2})[-/.][ ]?\d{1,2}[-/.][ ]?\d{1,2}")
_SIX = r"(?:19|20)?\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"

BIRTH = Rule(
    "KoreanLabelledBirth",
    PersonalData.DATE_OF_BIRTH,
    (
        rf"(?:{spaced('생년월일')}|출생년월일|출생일자?|생일|출생(?={GAP}[:：]))(?:은|는|이)?{any_of(COLON, GAP)}\(?\K{any_of(_DATE, _SIX)}(?!\d|-\d)",
        rf"(?<!\d){any_of(_DATE, _SIX)}(?=\.?[ \t]?(?:출생|생(?![후존성리활명체])))",
    ),
)

_PROVINCE = any_of(
    "(?:서울|부산|대구|인천|광주|대전|울산|세종)(?:특별시|광역시|특별자치시|시)?",
    "(?:경기|강원(?:특별자치)?|제주(?:특별자치)?|전북특별자치|(?:충청|전라|경상)[남북])도",
    "경기|강원|제주|충[남북]|전[남북]|경[남북]",
)
_DISTRICT = r"[ \t]+[가-힣]{1,5}(?:시|군|구)(?![가-힣])"
_VILLAGE = r"(?:[가-힣]{1,5}[읍면][ \t]+)?"
_ROAD = rf"{_VILLAGE}[가-힣\d·]{{1,12}}(?:로|길)(?:[ ]?\d{{1,4}}번?[가-힣]?길)?[ \t]*\d{{1,5}}(?:-\d{{1,4}})?(?![\d.%]|가[ ]?\d)"
_LOT = rf"{_VILLAGE}[가-힣\d]{{1,7}}(?:동|가|리)[ \t]*(?:산[ \t]?)?\d{{1,5}}(?:-\d{{1,4}})?(?:번지)?(?![\d.%])"
_PLACE = any_of(_ROAD, _LOT)
_INSIDE = r"(?:,?[ \t]*(?:\([가-힣\d, ]{1,30}\)|[가-힣A-Za-z\d]{1,15}(?:아파트|빌라|타워|오피스텔|맨션)|[A-Z\d]{1,4}동|\d{1,5}호|\d{1,3}층)){0,4}"

ADDRESS = Rule(
    "KoreanAddress",
    PersonalData.ADDRESS,
    (
        rf"(?<![가-힣]){_PROVINCE}(?:{_DISTRICT}){{1,2}}[ \t]+{_PLACE}{_INSIDE}",
        rf"(?<![가-힣])세종(?:특별자치시|시)[ \t]+{_PLACE}{_INSIDE}",
        rf"(?<![가-힣])[가-힣]{{2,4}}(?:시|군)[ \t]+[가-힣]{{1,4}}(?:구|읍|면)[ \t]+{_PLACE}{_INSIDE}",
        rf"(?:주소|거주지|자택|사는[ ]곳)(?:은|는)?{GAP}[:：=]?{GAP}\K(?:[가-힣]{{1,5}}(?:시|군|구)[ \t]+){{1,2}}{_PLACE}{_INSIDE}",
    ),
)

RECORD = Rule(
    "KoreanLabelledRecordNumber",
    PersonalData.RECORD_NUMBER,
    (
        rf"(?<![가-힣]|주민[ ]?)(?:(?:환자|병원)[ ]?)?(?:등록|차트|병록|환자|의무기록)[ ]?{spaced('번호')}(?:[ ]?\([^)\n]{{1,10}}\))?(?:는)?"
        rf"{any_of(COLON, GAP)}[#＃]?[ ]?\K(?:[A-Z]{{1,4}}-?)?\d[\d-]{{3,15}}(?![\d.])",
    ),
)

RESIDENT = Rule(
    "KoreanLabelledResidentNumber",
    PersonalData.KR_RRN,
    (rf"(?:주민[ ]?(?:등록)?[ ]?{spaced('번호')}|외국인[ ]?등록[ ]?번호|RRN)(?:는)?{any_of(COLON, GAP)}\K\d{{6}}[ -]?[0-9](?:\d{{6}}|[*xX●]{{6}})(?![\d*])",),
    0.85,
)
"""After its label also with a space, and masked: birthday and sex remain."""

MOBILE = Rule("KoreanMobileNumber", PersonalData.PHONE_NUMBER, (r"(?<![\d.-])01[016789][-. ]?\d{3,4}[-. ]?\d{4}(?![\d.-]?\d)",))
"""libphonenumber takes some that are written with points for other numbers."""

RULES = (NAMES, BIRTH, ADDRESS, RECORD, RESIDENT, MOBILE)
