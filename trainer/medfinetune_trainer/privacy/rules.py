"""Rule: one recogniser as data, a name and the patterns that find one type of personal data.

Patterns are in the syntax of the package `regex`, which presidio matches with. Every repetition is bounded, so that a scan takes time linear in the text;
`\\K` begins the finding, so that a label stays and only what it labels is found, counted and replaced.
"""

from __future__ import annotations

from typing import NamedTuple

from medfinetune_api.results_privacy import PersonalData

GAP = r"[ \t]*"
LINE = rf"{GAP}(?:\n{GAP})?"
"""A form may have the value on the line below its label."""
COLON = rf"{GAP}[:：=|]{LINE}"


class Rule(NamedTuple):
    """Finds one type of personal data."""

    name: str
    """How reports call it."""
    type: PersonalData
    patterns: tuple[str, ...]
    score: float = 0.6
    """0 to 1: where findings overlap, the type of the highest is taken."""


def spaced(word: str) -> str:
    """A pattern for a word whose characters may stand apart, as forms have them."""
    return r"[ ]{0,2}".join(word)


def any_of(*words: str) -> str:
    """A pattern for one of several patterns."""
    return f"(?:{'|'.join(words)})"
