"""Share a whole number among groups in proportion: Hamilton's method of largest remainders.

Every group gets its exact quota rounded down or up, never further from it, so that no share is off by a whole unit, however many groups there are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def apportion(total: int, weights: ArrayLike) -> NDArray[np.int64]:
    """Whole numbers in proportion to `weights` (G,), not negative and not all 0, that sum to `total`: (G,). Equal remainders go to the earlier group."""
    quotas = total * np.asarray(weights, dtype=np.float64) / np.sum(weights)
    shares: NDArray[np.int64] = np.floor(quotas + 1e-9).astype(np.int64)
    remainders = np.round(quotas - shares, 9)
    shares[np.argsort(-remainders, kind="stable")[: total - int(shares.sum())]] += 1
    return shares


def draw(weights: NDArray[np.int64], target: float, random: np.random.Generator) -> NDArray[np.int64]:
    """Positions (K,) drawn at random without repeats, whose `weights` (N,) sum as near to `target` as a prefix of a random order can."""
    order = random.permutation(len(weights))
    reached = np.concatenate([[0], np.cumsum(weights[order])])
    return order[: int(np.argmin(np.abs(reached - target)))]
