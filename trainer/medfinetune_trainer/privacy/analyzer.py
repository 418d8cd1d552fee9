"""Analyzer: presidio's engine with our recognisers, and where in a text it finds what.

presidio is built by hand: left to itself it downloads a model for its pipeline and a list of domains for e-mail addresses. A long text is taken in pieces
that overlap, within what libphonenumber and spaCy search of one text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import regex
from medfinetune_api.plan_screening import PrivacyPlan
from medfinetune_api.results_privacy import PersonalData, ScannedLanguage

from medfinetune_trainer.privacy import english, korean
from medfinetune_trainer.privacy.names import Pipelines, models_of
from medfinetune_trainer.privacy.numbers import numbers
from medfinetune_trainer.privacy.place import Place, merged
from medfinetune_trainer.privacy.presidio import (
    AnalyzerEngine,
    EntityRecognizer,
    Pattern,
    PatternRecognizer,
    RecognizerRegistry,
    RecognizerResult,
    SpacyRecognizer,
)
from medfinetune_trainer.privacy.rules import Rule
from medfinetune_trainer.privacy.site import RecordNumbers

PIECE, OVERLAP = 100_000, 500
"""Characters that are looked at together, and that two neighbours share: longer than any finding."""
_HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
"""Full-width digits and letters are read as what they stand for, character by character, so that places stay."""


class Analyzer:
    """Finds personal data in texts of the given languages."""

    def __init__(self, plan: PrivacyPlan, languages: Iterable[str], models: Path) -> None:
        """`models` is where the models volume is seen. Raises InvalidManifest, InvalidModel as `site` and `names`."""
        self._languages = tuple(sorted(set(languages)))
        self._named = models_of(plan.name_models, self._languages, models)
        registry = RecognizerRegistry(self._recognizers(plan), supported_languages=list(self._languages))
        engine = Pipelines(self._languages, self._named)
        self._engine = AnalyzerEngine(registry, engine, supported_languages=list(self._languages))

    def find(self, text: str, language: str) -> list[Place]:
        """Places that do not overlap, in order; `text` in Unicode's NFC, else Korean is not recognised."""
        return merged(_place(result, offset) for offset, piece in _pieces(text.translate(_HALF_WIDTH)) for result in self._engine.analyze(piece, language))

    def scanned(self) -> tuple[ScannedLanguage, ...]:
        """How each language is looked at."""
        return tuple(
            ScannedLanguage(language=language, recognizers=self._names(language), names_scanned=language in self._named) for language in self._languages
        )

    def _names(self, language: str) -> tuple[str, ...]:
        return tuple(sorted(recognizer.name for recognizer in self._engine.get_recognizers(language)))  # type: ignore[has-type]  # presidio declares none

    def _recognizers(self, plan: PrivacyPlan) -> list[EntityRecognizer]:
        made: list[EntityRecognizer] = []
        for language in self._languages:
            made += [_recognizer(rule, language) for rule in (*english.RULES, *korean.RULES)] + numbers(language)
            made += [RecordNumbers(plan.record_numbers, language)] if plan.record_numbers else []
            made += [SpacyRecognizer(language, [PersonalData.PERSON.value], name="SiteNameModel")] if language in self._named else []
        return made


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    for start in range(0, max(1, len(text) - OVERLAP), PIECE - OVERLAP):
        yield start, text[start : start + PIECE]


def _recognizer(rule: Rule, language: str) -> PatternRecognizer:
    patterns = [Pattern(f"{rule.name} {number}", pattern, rule.score) for number, pattern in enumerate(rule.patterns, start=1)]
    return PatternRecognizer(rule.type.value, rule.name, language, patterns, global_regex_flags=regex.MULTILINE)


def _place(result: RecognizerResult, offset: int) -> Place:
    return Place(offset + result.start, offset + result.end, PersonalData(result.entity_type), result.score)
