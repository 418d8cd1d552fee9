"""What an accuracy is worth: its Wilson interval, and scores grouped by language and subject."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import sqrt
from statistics import NormalDist

from medfinetune_api.results_evaluation import Score


def wilson_interval(correct: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Lower and upper bound of a proportion: the score interval without continuity correction (Wilson 1927, JASA 22(158), 209-212).

    It keeps its coverage at small n and near 0 and 1, where the normal interval leaves [0, 1]. `correct` is no whole number where each of n counts
    by a share. Raises ValueError unless 0 <= correct <= n and n > 0.
    """
    if not 0 <= correct <= n or n == 0:
        raise ValueError(f"{correct} of {n} is no proportion")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = correct / n
    scale = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    # At 0 and n a bound is exactly 0 or 1; floating point would leave it beside.
    return (0.0 if correct == 0 else centre - half), (1.0 if correct == n else centre + half)


def score(outcomes: Iterable[bool]) -> Score:
    """Accuracy of a set of answers with its Wilson 95 % interval. Raises ValueError where there are none."""
    answers = list(outcomes)
    low, high = wilson_interval(sum(answers), len(answers))
    return Score(n=len(answers), accuracy=sum(answers) / len(answers), low=low, high=high)


def score_by(outcomes: Iterable[tuple[str, bool]]) -> Mapping[str, Score]:
    """Score each group of (group, right or wrong) pairs; the groups are sorted by name."""
    groups: dict[str, list[bool]] = {}
    for name, right in outcomes:
        groups.setdefault(name, []).append(right)
    return {name: score(groups[name]) for name in sorted(groups)}
