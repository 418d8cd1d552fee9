"""How much could have been lost at most: the score interval of a difference between paired proportions.

A bootstrap of answers of which none changed has no width, however few they are: two questions would prove that nothing was lost. Tango's interval does not
shrink to a point; with no change in n answers its end is z^2 / (n + z^2), 5 % at 73 questions.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

STEPS = 60
"""Halvings of the interval in which the end is looked for: 2 / 2^60 is below a double's precision."""


def greatest_loss(n: int, gained: int, lost: int, confidence: float = 0.95) -> float:
    """Upper end of the interval of the share lost, (lost - gained) / n, over `n` questions that both models answered; -1 to 1.

    Tango 1998, Statistics in Medicine 17:891-908: the losses that a two-sided score test at 1 - `confidence` does not reject. Raises ValueError where `gained`
    and `lost` are not counts of different questions among `n` > 0.
    """
    if n < 1 or gained < 0 or lost < 0 or gained + lost > n:
        raise ValueError(f"{gained} gained and {lost} lost are no parts of {n} questions")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    low, high = (lost - gained) / n, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if _statistic(n, gained, lost, middle) > z else (middle, high)
    return high


def _statistic(n: int, gained: int, lost: int, loss: float) -> float:
    """How far what was seen lies below a true `loss`, in standard errors under that loss (Tango 1998, equations 5 and 6)."""
    half = -gained - lost + (2 * n + gained - lost) * loss  # the restricted estimate of the share gained solves 2n q^2 + half q - gained loss (1 - loss) = 0
    share = (sqrt(max(0.0, half * half + 8 * n * gained * loss * (1 - loss))) - half) / (4 * n)
    deviation = sqrt(max(0.0, n * (2 * share + loss * (1 - loss))))
    distance = n * loss - (lost - gained)
    return distance / deviation if deviation else (0.0 if distance <= 0 else float("inf"))
