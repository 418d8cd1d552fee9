"""Of `evaluation/summary.json`: whether the model is right as often as it is sure, and what is left where it keeps silent."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medfinetune_api.base import Contract
from medfinetune_api.scalars import ENTRIES, Count, Fraction


class CalibrationBin(Contract):
    """Answers of like confidence."""

    n: Count
    """Answers."""
    confidence: Fraction
    """Mean probability of the chosen letter among the choices; 0 where n is 0."""
    accuracy: Fraction
    """Share answered rightly; 0 where n is 0."""


class Calibration(Contract):
    """Whether the model is right as often as it is sure."""

    error: Fraction
    """Expected calibration error: the mean distance of confidence and accuracy over the bins, each as heavy as its answers are many."""
    low: Fraction
    """Lower end of its bootstrap 95 % interval."""
    high: Fraction
    """Upper end of it."""
    bins: Annotated[tuple[CalibrationBin, ...], Field(max_length=ENTRIES)]
    """Of equal width from 0 to 1."""


class AbstentionPoint(Contract):
    """What remains where answers of less confidence are withheld."""

    threshold: Fraction
    """Least confidence of an answer."""
    answered: Fraction
    """Share of the questions that are answered."""
    accuracy: Fraction | None = None
    """Of those that are answered; absent where none is."""


Abstention = Annotated[tuple[AbstentionPoint, ...], Field(max_length=ENTRIES)]
