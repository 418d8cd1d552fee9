"""Percentile bootstrap of a mean, with two answers more than were given, so that few answers never look certain.

Resampling n values n times over knows nothing of values that happened not to occur: twenty answers that are all right give an interval of no width. So the
pool that is drawn from holds two answers more: for shares and scores one of 0 and one of 1, which where all are right leaves the rule of three (Hanley and
Lippman-Hand 1983, JAMA 249:1743); for differences one of 0 and half an answer each of +1 and -1, which is what Agresti and Min (2005, Statistics in Medicine
24:729) add to a table of matched pairs. Among a thousand answers neither is seen.

Draws are taken from the counts of distinct values: the order of the answers decides nothing, and right-or-wrong answers cost the same however many they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
CONFIDENCE = 0.95
_AT_ONCE = 1 << 22
"""Counts that are held in memory at a time."""

Floats = npt.NDArray[np.float64]


def means(values: Sequence[float], seed: int) -> Floats:
    """Means of RESAMPLES resamples of `values`, each 0 to 1; shape (RESAMPLES,). Depends on the values, not their order, and on `seed`."""
    return _drawn(np.array([*values, 0.0, 1.0]), np.ones(len(values) + 2), len(values), RESAMPLES, seed)


def mean_differences(values: Sequence[float], seed: int) -> Floats:
    """Likewise of paired differences, each -1 to 1. Of the negated differences these are the negated means: half of them are drawn from either side."""
    weights = np.array([1.0] * len(values) + [1.0, 0.5, 0.5])
    pool, half = np.array([*values, 0.0, 1.0, -1.0]), RESAMPLES // 2
    return np.concatenate([_drawn(pool, weights, len(values), half, seed), -_drawn(-pool, weights, len(values), half, seed)])


def interval(draws: Floats) -> tuple[float, float]:
    """The middle 95 % of draws (Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3)."""
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _drawn(pool: Floats, weights: Floats, n: int, resamples: int, seed: int) -> Floats:
    """Means of `n` draws from `pool`."""
    distinct, place = np.unique(pool, return_inverse=True)
    chances = np.bincount(place, weights) / weights.sum()
    random, rows = np.random.default_rng(seed), max(1, _AT_ONCE // len(distinct))
    parts = [random.multinomial(n, chances, size=min(rows, resamples - first)) @ distinct / n for first in range(0, resamples, rows)]
    return np.clip(np.concatenate(parts), distinct[0], distinct[-1])
