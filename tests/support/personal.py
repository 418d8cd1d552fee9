"""A labelled synthetic set for the privacy scan: sentences of clinical notes, English and Korean, with invented personal data at known places, and sentences
that hold none though they look like it. The sentences were written by hand, before the rules were tried on them; nothing in it is about a person."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from medfinetune_api.results_privacy import PersonalData

SITE_NUMBER = "HX[0-9]{7}"
"""Record numbers of the invented hospital."""
_SLOT = re.compile(r"\{(\w+)\}")
Draw = random.Random
Label = tuple[int, int, PersonalData]


class Sample(NamedTuple):
    """A sentence and where in it personal data stands."""

    text: str
    language: str
    labels: tuple[Label, ...]


SENTENCES = {
    "en": """
Patient: {PERSON}, seen today for follow-up of hypertension.
Patient name: {PERSON}
Name: {PERSON}   Age: 54   Sex: F
Name of patient: {PERSON}; referred by her family physician.
The patient's name is {PERSON} and she lives alone.
Mr. {LAST} reports chest pain since this morning.
Mrs. {PERSON} was admitted with dyspnea.
Attending physician: Dr. {PERSON}
Emergency contact: {PERSON}, phone {PHONE_NUMBER}.
Next of kin: {PERSON} ({PHONE_NUMBER})
PATIENT: {UPPER}
Pt: {PERSON} is a pleasant gentleman with COPD.
{PERSON} was brought in by his wife.
DOB: {DATE_OF_BIRTH}. Allergies: none.
Date of birth: {DATE_OF_BIRTH}
She was born on {DATE_OF_BIRTH} at term.
D.O.B. {DATE_OF_BIRTH}, admitted 03/04/2021.
Birth date: {DATE_OF_BIRTH}; weight 71 kg.
The child (born {DATE_OF_BIRTH}) is up to date with vaccines.
SSN: {US_SSN}
Social security number {US_SSN} was verified.
Insurance on file, {US_SSN}, copay 20 dollars.
Call her at {PHONE_NUMBER} after 5 pm.
Tel. {PHONE_NUMBER}, fax {PHONE_NUMBER}
Mobile {PHONE_NUMBER}; she prefers text messages.
Contact the daughter in London on {FOREIGN}.
E-mail: {EMAIL_ADDRESS}
Results were sent to {EMAIL_ADDRESS} on request.
Lives at {ADDRESS} with her husband.
Address: {ADDRESS}
Mail to {ADDRESS}.
MRN: {DIGITS}
Medical record number {DIGITS}, ward 5.
Chart no. {DIGITS} was requested.
Record {SITE} was merged with record {SITE}.
Korean national, resident number {KR_RRN}, insured.
""",
    "ko": """
환자명: {PERSON}
환자 성명: {PERSON}, 45세 남자
성명: {PERSON} / 성별: 여
환자의 이름은 {PERSON}입니다.
이름: {PERSON}, 나이: 63세
보호자: {PERSON} (딸)
담당의: {PERSON}
환자 {PERSON}(45세)는 흉통으로 내원하였다.
{PERSON}(남/62)는 고혈압 병력이 있다.
{PERSON} 님은 어제 수술을 받았다.
{PERSON} 씨가 보호자로 동행하였다.
{PERSON} 환자는 3일 전부터 기침을 하였다.
이름이 {PERSON}인 환자가 내원하였다.
환자명 {PERSON}
주민등록번호: {KR_RRN}
주민번호 {KR_RRN} 확인함.
({KR_RRN}) 건강보험 가입자
외국인등록번호는 {KR_RRN}이다.
생년월일: {DATE_OF_BIRTH}
환자는 {DATE_OF_BIRTH}생으로 현재 무직이다.
생년월일 {DATE_OF_BIRTH}, 혈액형 A형
출생일: {DATE_OF_BIRTH}
연락처: {PHONE_NUMBER}
휴대전화 {PHONE_NUMBER}으로 연락 바람.
보호자 전화 {PHONE_NUMBER}, 자택 {PHONE_NUMBER}
해외 연락처 {FOREIGN}
이메일: {EMAIL_ADDRESS}
결과를 {EMAIL_ADDRESS}로 보냈다.
주소: {ADDRESS}
환자는 {ADDRESS}에 거주한다.
거주지는 {ADDRESS}이며 혼자 산다.
등록번호: {DIGITS}
차트번호 {DIGITS} 확인
병록번호: {DIGITS}
기록 {SITE} 참조
""",
}

NOTHING = {
    "en": """
BP was 160/100 mmHg and has ranged from 150-170/80-100 mmHg over the past year.
Sodium 142, potassium 4.1, chloride 103, bicarbonate 24, BUN 12, creatinine 0.9, glucose 98.
Give amoxicillin 500 mg every 8 hours for 7-10 days, then 250 mg/day.
ICD-10 codes E11.9, I10 and J45.909 were assigned; CPT 99213-25.
For questions call 1-800-222-1222 or the toll-free hotline 1-888-232-6348.
The 2019 examination had 120 questions, the 2020 examination 125.
Patient: Hello Doctor, I have had a cough for 3 weeks.
Patient: No complaints. Doctor: Good, see you next year.
Drug name: Amoxicillin Clavulanate. Brand name: Augmentin Duo.
Platelet count is 150,000-450,000/mm3; leukocytes 4,500-11,000.
The study enrolled 1234567890 cells from 2010-01-05 to 2012-03-09.
A 45-year-old man was born at 37 weeks and weighed 3,200 g.
Parkinson disease, Crohn disease and the Wolff-Parkinson-White syndrome were excluded.
The gene BRCA1 lies at 17q21.31, position 43044295-43125483.
PMID 31978945, doi 10.1056/NEJMoa2001017, ClinicalTrials.gov NCT04280705.
In 5 Main Outcome trials the hazard ratio was 0.82 (0.71-0.95).
Catheter 12 French Drive system, 3 Way stopcock, 20 G needle.
The last visit was on 03/04/2021; the next is on 2021-10-05.
Heart rate 120, respirations 22, oxygen saturation 92 percent on 2 L.
The patient is a 62-year-old woman with no known allergies.
""",
    "ko": """
혈압 160/100 mmHg, 맥박 120회/분, 호흡 22회/분, 체온 38.5도였다.
혈색소 9.2 g/dL, 백혈구 12,300/mm3, 혈소판 150,000-450,000/mm3이다.
적혈구 기준으로 5 이상이면 정상이고 백혈구 수치로 10을 넘지 않는다.
아목시실린 500mg을 8시간마다 7-10일 동안 투여한다.
질병분류기호 E11.9, I10, J45.909로 기록하였다.
문의: 1588-1234 또는 080-123-4567, 응급의료 상담은 119
2019년도 국가시험 3교시 45번 문제이다.
고혈압 환자는 저염식을 하고, 당뇨병 환자는 혈당을 잰다.
정신과 환자 면담과 임산부 환자 교육을 시행하였다.
환자: 정상, 보호자: 없음
환자: 이상없음
이 환자에게 가장 적절한 간호는?
생후 30일 된 영아, 임신 37주에 3,200g으로 출생하였다.
의료법 제17조제1항 및 같은 법 시행규칙 제9조에 따른다.
간호사: 어디가 불편하세요? 환자: 가슴이 아파요.
연구 대상은 서울 소재 병원 3곳의 환자 120명이다.
약의 이름은 이부프로펜이며 하루 3번 복용한다.
2021년 3월 4일에 내원하였고 다음 예약은 2021-10-05이다.
검체번호와 날짜를 확인하고 2병동 301호로 이동한다.
주사는 상완 삼각근에 0.5 mL, 18세 이상에서 접종한다.
""",
}

FIRST = ("James", "Mary", "Robert", "Patricia", "John", "Jennifer", "Linda", "David", "William", "Carlos", "Aisha", "Wei", "Sofia", "Liam", "Hans", "Chloé")
LAST = ("Smith", "Johnson", "Williams", "García", "Miller", "O'Brien", "Hernandez", "Lopez", "Smith-Jones", "Nguyen", "Patel", "Kim", "Schmidt", "Dubois")
SURNAMES = ("김", "이", "박", "최", "정", "강", "조", "윤", "장", "임", "한", "오", "서", "신", "권", "황", "안", "송", "류", "홍", "남궁")
GIVEN = ("민수", "영희", "철수", "지영", "서연", "도윤", "하은", "준호", "현우", "예진", "수빈", "건우", "은지", "태현", "미경")
STREETS, WAYS = ("Maple", "Oak Hill", "N. Washington", "5th", "Martin Luther King"), ("Street", "St.", "Avenue", "Rd", "Blvd", "Lane")
TOWNS = ("서울특별시 강남구", "부산광역시 해운대구", "경기도 성남시 분당구", "대구 수성구", "전라남도 순천시", "강원도 춘천시", "수원시 팔달구")
MAILBOXES, HOSTS = ("j.smith", "minsu_kim", "a+b"), ("example.com", "mail.snu.ac.kr", "ward5.hospital")
ABROAD = ("+44 20 7946 0958", "+33 1 42 68 53 00", "+81 3-3201-3331", "+49 30 901820")


def phone(draw: Draw, language: str) -> str:
    """A valid number as it is written in the country."""
    last = draw.randrange(1000, 10000)
    if language == "en":
        area, middle = draw.choice((212, 301, 415, 617, 713)), draw.randrange(560, 999)
        return draw.choice((f"({area}) {middle}-{last}", f"{area}-{middle}-{last}", f"{area}.{middle}.{last}", f"+1 {area} {middle} {last}"))
    middle = draw.randrange(2100, 9900)
    plain = draw.choice((f"010-{middle}-{last}", f"010{middle}{last}", f"010.{middle}.{last}"))
    return draw.choice((plain, plain, f"02-{middle}-{last}", f"031-{middle}-{last}", f"+82-10-{middle}-{last}"))


def resident(draw: Draw, _: str) -> str:
    """A resident registration number: half of them with the checksum of those before October 2020, half random as since then."""
    head = f"{draw.randrange(100):02}{draw.randrange(1, 13):02}{draw.randrange(1, 29):02}{draw.randrange(1, 9)}{draw.randrange(100000):05}"
    check = (11 - sum(int(digit) * weight for digit, weight in zip(head, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5), strict=True)) % 11) % 10
    number = head + str(check if draw.random() < 0.5 else draw.randrange(10))
    return draw.choice((f"{number[:6]}-{number[6:]}", number))


def person(draw: Draw, language: str) -> str:
    """A whole name."""
    if language == "ko":
        return draw.choice(SURNAMES) + draw.choice(GIVEN)
    first, last = draw.choice(FIRST), draw.choice(LAST)
    return draw.choice((f"{first} {last}", f"{first} {last}", f"{first} {draw.choice('ABCJM')}. {last}", f"{last}, {first}"))


def birth(draw: Draw, language: str) -> str:
    """A date of the last century or this."""
    year, month, day = draw.randrange(1930, 2020), draw.randrange(1, 13), draw.randrange(1, 29)
    named = ("January", "Feb", "March", "Apr", "May", "June", "July", "Aug", "September", "Oct", "November", "Dec")[month - 1]
    if language == "en":
        return draw.choice((f"{month:02}/{day:02}/{year}", f"{year}-{month:02}-{day:02}", f"{named} {day}, {year}", f"{day} {named} {year}"))
    return draw.choice((f"{year}년 {month}월 {day}일", f"{year}-{month:02}-{day:02}", f"{year}.{month:02}.{day:02}", f"{year % 100:02}{month:02}{day:02}"))


def address(draw: Draw, language: str) -> str:
    """A street and house, mostly with a town."""
    number = draw.randrange(1, 2000)
    if language == "en":
        street = f"{number} {draw.choice(STREETS)} {draw.choice(WAYS)}"
        return street + draw.choice(("", ", Apt 4B", ", Springfield, IL 62704", ", Unit 12, Boston, MA 02115"))
    place = draw.choice((f"테헤란로 {number}", f"판교역로235번길 {number % 90 + 1}", f"중앙대로 {number}-3", f"정자동 {number}-1", f"역삼1동 {number}번지"))
    return f"{draw.choice(TOWNS)} {place}" + draw.choice(("", ", 101동 1203호", " (행복아파트)"))


MAKE: dict[str, tuple[PersonalData, Callable[[Draw, str], str]]] = {
    "PERSON": (PersonalData.PERSON, person),
    "LAST": (PersonalData.PERSON, lambda draw, _: draw.choice(LAST)),
    "UPPER": (PersonalData.PERSON, lambda draw, language: person(draw, language).upper()),
    "DATE_OF_BIRTH": (PersonalData.DATE_OF_BIRTH, birth),
    "US_SSN": (PersonalData.US_SSN, lambda draw, _: f"{draw.randrange(100, 660)}-{draw.randrange(10, 99)}-{draw.randrange(1000, 9999)}"),
    "KR_RRN": (PersonalData.KR_RRN, resident),
    "PHONE_NUMBER": (PersonalData.PHONE_NUMBER, phone),
    "FOREIGN": (PersonalData.PHONE_NUMBER, lambda draw, _: draw.choice(ABROAD)),
    "EMAIL_ADDRESS": (PersonalData.EMAIL_ADDRESS, lambda draw, _: f"{draw.choice(MAILBOXES)}@{draw.choice(HOSTS)}"),
    "ADDRESS": (PersonalData.ADDRESS, address),
    "DIGITS": (PersonalData.RECORD_NUMBER, lambda draw, _: draw.choice((f"{draw.randrange(10**7, 10**8)}", f"A{draw.randrange(10**6, 10**7)}"))),
    "SITE": (PersonalData.RECORD_NUMBER, lambda draw, _: f"HX{draw.randrange(10**6, 10**7)}"),
}


def samples(rounds: int, seed: int = 0) -> Iterator[Sample]:
    """Every sentence `rounds` times with new data, and every sentence without any once."""
    draw = random.Random(seed)
    for language, sentences in SENTENCES.items():
        for sentence in sentences.strip().splitlines() * rounds:
            yield _filled(sentence, language, draw)
    for language, sentences in NOTHING.items():
        yield from (Sample(sentence, language, ()) for sentence in sentences.strip().splitlines())


def _filled(sentence: str, language: str, draw: Draw) -> Sample:
    text, labels, end = "", [], 0
    for slot in _SLOT.finditer(sentence):
        kind, make = MAKE[slot[1]]
        text += sentence[end : slot.start()]
        labels.append((len(text), len(text) + len(value := make(draw, language)), kind))
        text, end = text + value, slot.end()
    return Sample(text + sentence[end:], language, tuple(labels))
