"""The smallest difference that this many questions could have shown: what "within the noise" is worth.

A difference delta is called shown where a two-sided test at 5 % finds it in 4 of 5 runs.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from statistics import NormalDist

ALPHA, POWER = 0.05, 0.8
_Z_ALPHA, _Z_POWER = NormalDist().inv_cdf(1 - ALPHA / 2), NormalDist().inv_cdf(POWER)
_HALVINGS = 40


def smallest_difference(n: int, discordance: float) -> float:
    """Smallest difference of two accuracies on the same `n` questions that McNemar's exact test would show, 0 to 1; 1 where it could show none.

    Connor (1987, Biometrics 43:207): n delta^2 = (z_alpha sqrt(psi) + z_beta sqrt(psi - delta^2))^2, with Edwards' correction of one question
    (1948, Psychometrika 13:185) because the exact test is more careful than the normal one. psi is the share of questions that only one of the two answers
    rightly. It is assumed to stay at the `discordance` that was observed; where delta is more than that, it is delta: all changed answers change one way.
    Raises ValueError unless n > 0 and 0 <= discordance <= 1.
    """
    if n <= 0 or not 0 <= discordance <= 1:
        raise ValueError(f"{discordance} of {n} questions is no discordance")

    def shown(delta: float) -> bool:
        psi = max(discordance, delta)
        return sqrt(n) * delta - 1 / sqrt(n) >= _Z_ALPHA * sqrt(psi) + _Z_POWER * sqrt(max(0.0, psi - delta * delta))

    return _least(shown)


def smallest_mean_difference(n: int, deviation: float) -> float:
    """Likewise of two means over the same `n` answers whose differences have the standard deviation `deviation`: (z_alpha + z_beta) deviation / sqrt(n)."""
    return min(1.0, (_Z_ALPHA + _Z_POWER) * deviation / sqrt(n))


def _least(holds: Callable[[float], bool]) -> float:
    """The least number of [0, 1] from which on `holds`; 1 where it never does."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
