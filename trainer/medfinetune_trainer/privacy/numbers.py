"""Numbers of persons, written alike in every language: resident registration, social security, telephone.

A Korean resident registration number's checksum raises its score and rejects nothing: numbers issued since October 2020 have none. A telephone number that no
person can hold (toll-free, shared cost, premium rate, or the 15xx and 16xx numbers of Korean firms) is none: hotlines are not personal data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import phonenumbers
import regex
from medfinetune_api.results_privacy import PersonalData
from phonenumbers import Leniency, PhoneNumber, PhoneNumberMatcher, PhoneNumberType

from medfinetune_trainer.privacy.presidio import EntityRecognizer, KrRrnRecognizer, LocalRecognizer, Pattern, RecognizerResult, UsSsnRecognizer

NAME = "TelephoneNumber"
REGIONS = ("KR", "US")
"""Countries whose numbers are known without a country code."""
PUBLIC = (PhoneNumberType.TOLL_FREE, PhoneNumberType.PREMIUM_RATE, PhoneNumberType.SHARED_COST, PhoneNumberType.UAN)
_BIRTH = r"\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_RESIDENT = (
    Pattern("with a hyphen", rf"(?<!\d){_BIRTH}[ \t]?[-–－][ \t]?\d{{7}}(?!\d)", 0.8),
    Pattern("thirteen digits", rf"(?<!\d){_BIRTH}[1-8]\d{{6}}(?!\d)", 0.75),
)
_SECURITY = (
    Pattern("with hyphens", r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])", 0.8),
    Pattern("labelled", r"\b(?i:SSN|social[ ]security(?:[ ](?:number|no\.?|\#))?)(?:[ \t]+is\b|[ \t]*[:：#=])?[ \t]*\K\d{3}[ .-]?\d{2}[ .-]?\d{4}(?!\d)", 0.8),
)
_SEVEN_DIGITS = regex.compile(r"\d(?:[^\w\n/]{0,3}\d){6}")
"""Less than any number has: lets most texts of an examination pass without libphonenumber, whose search costs as much as all other recognisers'."""
_UNSEEN = [(mark, "") for mark in "-–－ \t"]


class Telephones(LocalRecognizer):
    """Telephone numbers by libphonenumber: valid ones of REGIONS, and of any country where its code is written."""

    SCORE = 0.7

    def load(self) -> None:
        """Nothing is to be loaded: the metadata comes with the package."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[RecognizerResult]:
        """Where the numbers stand. The other arguments are presidio's, and not needed."""
        if not _SEVEN_DIGITS.search(text):
            return []
        places = sorted({place for region in REGIONS for place in _personal(text, region)})
        return [self._result(start, end) for start, end in places]

    def _result(self, start: int, end: int) -> RecognizerResult:
        metadata = {RecognizerResult.RECOGNIZER_NAME_KEY: NAME, RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: self.id}
        return RecognizerResult(PersonalData.PHONE_NUMBER.value, start, end, self.SCORE, recognition_metadata=metadata)


def _personal(text: str, region: str) -> Iterator[tuple[int, int]]:
    for match in PhoneNumberMatcher(text, region, leniency=Leniency.VALID):
        if "/" not in match.raw_string and not _is_public(match.number):  # 160 - 170/80 - 100 mmHg is a valid number to libphonenumber
            yield match.start, match.end


def _is_public(number: PhoneNumber) -> bool:
    return phonenumbers.number_type(number) in PUBLIC


def numbers(language: str) -> list[EntityRecognizer]:
    """Recognisers of numbers for texts of `language`."""
    found: list[EntityRecognizer] = [
        KrRrnRecognizer(list(_RESIDENT), supported_language=language, replacement_pairs=_UNSEEN, name="ResidentRegistrationNumber"),
        UsSsnRecognizer(list(_SECURITY), supported_language=language, name="SocialSecurityNumber"),
        Telephones([PersonalData.PHONE_NUMBER.value], NAME, language),
    ]
    for recognizer in found:
        recognizer.context = []  # labels are in the patterns: presidio's own words need tokens, which cost more than all the rest
    return found
