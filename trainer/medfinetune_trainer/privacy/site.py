"""The site's own record numbers: regular expressions of a manifest, which are not trusted to end.

An expression is tried before any record is read, on long runs of every character that it names, where one that backtracks without end shows itself; and each
search of a record is bounded too. Both bounds are CPU time of this process. What does not compile, matches nothing at all, or takes too long is refused by
its field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import regex
from medfinetune_api.errors import InvalidManifest
from medfinetune_api.results_privacy import PersonalData

from medfinetune_trainer.privacy.presidio import LocalRecognizer, RecognizerResult

FIELD = "spec.data.privacy.recordNumbers"
TRIAL_SECONDS, SEARCH_SECONDS = 1.0, 10.0
"""CPU seconds that a trial and the search of one piece of a record may take; an expression without nested repetitions takes milliseconds."""
RUN = 3000
"""Characters of a trial."""
NAME = "SiteRecordNumber"
_REMEDY = "Write it without nested or adjacent unbounded repetitions, such as MRN-[0-9]{8}."


class RecordNumbers(LocalRecognizer):
    """Finds what the site's expressions match, upper and lower case as they have it."""

    SCORE = 0.95

    def __init__(self, expressions: Sequence[str], language: str) -> None:
        """Raises InvalidManifest where an expression cannot be used."""
        self._compiled = [_compiled(expression, f"{FIELD}[{number}]") for number, expression in enumerate(expressions)]
        super().__init__([PersonalData.RECORD_NUMBER.value], NAME, language)

    def load(self) -> None:
        """Nothing is to be loaded."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[RecognizerResult]:
        """Where the numbers stand. Raises InvalidManifest where an expression takes too long."""
        found = [place for number, pattern in enumerate(self._compiled) for place in _places(pattern, text, f"{FIELD}[{number}]", SEARCH_SECONDS)]
        metadata = {RecognizerResult.RECOGNIZER_NAME_KEY: NAME, RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: self.id}
        return [RecognizerResult(PersonalData.RECORD_NUMBER.value, *place, self.SCORE, recognition_metadata=metadata) for place in found]


def _compiled(expression: str, where: str) -> regex.Pattern[str]:
    try:
        pattern = regex.compile(expression)
    except (regex.error, OverflowError, RecursionError):
        raise InvalidManifest(where, found="an expression that does not compile", expected="a regular expression", remedy="Correct it.") from None
    for trial in _trials(expression):
        if any(start == end for start, end in _places(pattern, trial, where, TRIAL_SECONDS)):
            raise InvalidManifest(where, found="an expression that matches where nothing is", expected="one that takes a character at least", remedy=_REMEDY)
    return pattern


def _trials(expression: str) -> list[str]:
    """Runs of each character that the expression names, and of the usual ones, each broken off; then what it must hold, for which `regex` looks first."""
    characters = sorted({character for character in expression if not character.isspace()} | set("0aA- 가"))
    runs = [character * RUN for character in characters] + ["0A" * (RUN // 2), "a0" * (RUN // 2)]
    return [f"{run}\x00{expression}" for run in runs]


def _places(pattern: regex.Pattern[str], text: str, where: str, seconds: float) -> list[tuple[int, int]]:
    try:
        return [match.span() for match in pattern.finditer(text, timeout=seconds)]
    except TimeoutError:
        found = f"an expression that takes more than {seconds:g} s to search {len(text):,} characters"
        raise InvalidManifest(where, found=found, expected="one that takes time in proportion to the text", remedy=_REMEDY) from None
