"""Two models on the same questions: how many answers were gained and lost, by how much that is more than chance, and what could have been seen at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, lgamma, log
from typing import TypeVar

import numpy as np
from medfinetune_api.results_evaluation import Comparison, Mean

from medfinetune_trainer.evaluation import bootstrap
from medfinetune_trainer.evaluation.power import ALPHA, smallest_difference, smallest_mean_difference

Key = TypeVar("Key")


def compare(before: Sequence[bool], after: Sequence[bool], seed: int = 0) -> Comparison:
    """Accuracy after against before, `before[i]` and `after[i]` being the same question answered rightly or not.

    p is of McNemar's exact test, `p_holm` the same until `corrected` has seen the other tasks. Raises ValueError where there are none, or not equally many.
    """
    differences = [int(now) - int(then) for then, now in zip(before, after, strict=True)]
    gained, lost = differences.count(1), differences.count(-1)
    smallest = smallest_difference(len(differences), (gained + lost) / max(1, len(differences)))
    return _comparison(differences, gained, lost, bootstrap.mean_differences(differences, seed), mcnemar(gained, lost), smallest)


def compare_means(before: Sequence[float], after: Sequence[float], seed: int = 0) -> Comparison:
    """Mean measurement after against before, `before[i]` and `after[i]` being of the same question, each 0 to 1.

    p is twice the smaller share of resamples on either side of no difference, that none counted among them (Davison and Hinkley 1997, Bootstrap Methods and
    their Application, section 4.4); below 2 / 10,001 it cannot fall. Raises ValueError where there are none, or not equally many.
    """
    differences = [float(now) - float(then) for then, now in zip(before, after, strict=True)]
    if not differences:
        raise ValueError("no answers to compare")
    draws = bootstrap.mean_differences(differences, seed)
    tail = 1 + min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    smallest = smallest_mean_difference(len(differences), float(np.std([*differences, 0.0, 1.0, -1.0])))
    gained, lost = sum(each > 0 for each in differences), sum(each < 0 for each in differences)
    return _comparison(differences, gained, lost, draws, min(1.0, 2 * tail / (len(draws) + 1)), smallest)


def mean(values: Sequence[float], seed: int = 0) -> Mean:
    """Mean of measurements, each 0 to 1, with its bootstrap 95 % interval. Raises ValueError where there are none."""
    if not values:
        raise ValueError("no answers to measure")
    low, high = bootstrap.interval(bootstrap.means(values, seed))
    return Mean(n=len(values), mean=_within(sum(values) / len(values), 0), low=low, high=high)


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided p of McNemar's exact test: `gained` of `gained + lost` changed answers, at even chances (Agresti 2013, Categorical Data Analysis, 11.1).

    Exact and not mid-p: it errs at most once in 20 runs however few answers changed.
    """
    changed, fewer = gained + lost, min(gained, lost)
    if gained == lost:
        return 1.0
    first = exp(lgamma(changed + 1) - lgamma(fewer + 1) - lgamma(changed - fewer + 1) - changed * log(2))
    below = np.arange(fewer, 0, -1)
    return min(1.0, 2 * first * (1 + float(np.cumprod(below / (changed - below + 1)).sum())))


def holm(ps: Sequence[float]) -> list[float]:
    """The p values corrected for being several, in the same order (Holm 1979, Scandinavian Journal of Statistics 6:65)."""
    corrected, highest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = highest
    return corrected


def corrected(comparisons: Mapping[Key, Comparison]) -> dict[Key, Comparison]:
    """The comparisons of one family, such as the tasks of a run, each with its `p_holm` and with what that says."""
    ps = holm([each.p for each in comparisons.values()])
    return {key: each.model_copy(update={"p_holm": p, "beyond_noise": p <= ALPHA}) for (key, each), p in zip(comparisons.items(), ps, strict=True)}


def _comparison(differences: Sequence[float], gained: int, lost: int, draws: bootstrap.Floats, p: float, smallest: float) -> Comparison:
    low, high = bootstrap.interval(draws)
    difference = _within(sum(differences) / len(differences), -1)
    noise = {"p": p, "p_holm": p, "smallest": smallest, "beyond_noise": p <= ALPHA}
    return Comparison.model_validate({"n": len(differences), "gained": gained, "lost": lost, "difference": difference, "low": low, "high": high, **noise})


def _within(value: float, least: float) -> float:
    """`value`, which rounding may have carried beyond its range."""
    return max(least, min(1.0, value))
