"""A figure that a gate is held against, and that there is none."""

from __future__ import annotations

from dataclasses import dataclass

from medfinetune_api.results_evaluation import Mean


class NotMeasured(Exception):  # noqa: N818  # says what is so
    """Why there is nothing to hold against the bound; a phrase without record text."""


@dataclass(frozen=True)
class Measurement:
    """A figure with its 95 % interval; for maxDrop what was lost, -1 to 1."""

    n: int
    value: float
    low: float
    high: float
    bootstrapped: bool = False
    """Whether the interval is a bootstrap's, which says little of few answers."""

    @classmethod
    def of(cls, mean: Mean) -> Measurement:
        """From a mean, whose interval is a bootstrap's."""
        return cls(mean.n, mean.mean, mean.low, mean.high, bootstrapped=True)
