"""What a clinical answer must not get wrong, as far as it can be found without a model: quantities with a unit, and the terms of the site's glossary.

An entity is a number with its unit (`0.5 mg`, `120/80 mmHg`, `8 hours`), the same however it is spelled (`500밀리그램` is `500 mg`); or a term. Names of drugs
and diseases are found where the glossary has them. Published entity F1 uses a trained recogniser; this one is the same on every machine and explains itself,
but it knows neither negation nor what a quantity belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from medfinetune_trainer.evaluation.glossary import Glossary
from medfinetune_trainer.evaluation.tokens import folded

UNITS = {
    **{
        unit: unit
        for unit in ("mg", "g", "kg", "ng", "ml", "l", "dl", "cm", "mm", "m", "m2", "mmol", "mol", "meq", "mmhg", "bpm", "kcal", "cc", "%", "°c", "°f")
    },
    **dict.fromkeys(("μg", "ug", "mcg", "마이크로그램"), "μg"),
    **dict.fromkeys(("iu", "u", "unit", "units", "단위"), "unit"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "시간"), "hour"),
    **dict.fromkeys(("min", "mins", "minute", "minutes", "분"), "minute"),
    **dict.fromkeys(("s", "sec", "second", "seconds", "초"), "second"),
    **dict.fromkeys(("d", "day", "days", "일"), "day"),
    **dict.fromkeys(("wk", "week", "weeks", "주"), "week"),
    **dict.fromkeys(("month", "months", "개월", "달"), "month"),
    **dict.fromkeys(("year", "years", "년", "세"), "year"),
    **dict.fromkeys(("time", "times", "회"), "time"),
    **dict.fromkeys(("tablet", "tablets", "정"), "tablet"),
    **dict.fromkeys(("capsule", "capsules", "캡슐"), "capsule"),
    **{"밀리그램": "mg", "그램": "g", "킬로그램": "kg", "밀리리터": "ml", "리터": "l", "퍼센트": "%", "percent": "%", "inch": "inch", "inches": "inch"},
}
"""Units as folded texts spell them, and the one spelling that stands for all: SI and clinical practice in English and Korean."""

_ONE = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
_OTHER_WORD = "정도|분기|분의 ?[0-9]|세트|세대|세기|회사|주사|달러|초과|일반"
"""Korean words that begin as a unit does: about 100, the second quarter, a half, five sets, above 38."""
_DIGITS = r"\d+(?:[.,]\d+)*(?:/\d+(?:[.,]\d+)*)?"
_QUANTITY = re.compile(
    rf"(?:(?<![\d.,a-z])({_DIGITS}) ?(?:-|–|~|to) ?)?(?<![\d.,/a-z])({_DIGITS}) ?-?(?!{_OTHER_WORD})((?:{_ONE})(?:/(?:{_ONE}))*)(?![a-z0-9])"
)
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")


@dataclass(frozen=True)
class Entities:
    """Finds entities; without a glossary, quantities alone."""

    glossary: Glossary = field(default_factory=Glossary)

    def found(self, text: str) -> frozenset[str]:
        """The entities of `text`, each once."""
        return self.glossary.found(text) | frozenset(quantities(text))


def entity_f1(found: frozenset[str], expected: frozenset[str]) -> float | None:
    """F1 of an answer's entities against its reference's; None where the reference has none: then there is nothing to be right about."""
    return 2 * len(found & expected) / (len(found) + len(expected)) if expected else None


def quantities(text: str) -> Iterator[str]:
    """Every number with its unit, in one spelling: `0.5 mg/day`; of a range both ends."""
    for first, last, unit in _QUANTITY.findall(folded(text)):
        spelled = "/".join(UNITS[part] for part in unit.split("/"))
        yield from (f"{_number(number)} {spelled}" for number in (first, last) if number)


def _number(digits: str) -> str:
    """`1,000.50` as 1000.5 and `0,5` as 0.5; both of two, with a stroke between."""
    return "/".join(_decimal(part) for part in digits.split("/"))


def _decimal(digits: str) -> str:
    plain = digits.replace(",", "") if _THOUSANDS.fullmatch(digits) else digits.replace(",", ".")
    whole, _, rest = plain.partition(".")
    return ".".join(part for part in (whole.lstrip("0") or "0", rest.rstrip("0")) if part)
