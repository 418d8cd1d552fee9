"""The validation split: a share of the records held out, each stratum in proportion, identical records on one side.

The records to hold out are apportioned to the strata (language, subject) by largest remainders, then drawn at random within each, a class of
identical records at a time. A class that several strata hold belongs to the stratum of its first record.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medfinetune_trainer.data.apportion import apportion, draw


def split(strata: NDArray[np.int64], identities: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Which records are held out: (N,) bool, the same for the same seed.

    Args:
        strata: number of each record's stratum, from 0 without gaps, (N,).
        identities: equal for identical records, (N,): they end on the same side.
        fraction: share held out, 0 to 0.5; where it is above 0 and there are two records or more, at least one is, unless all are identical.
        seed: of the draws (numpy's PCG64).
    """
    if fraction <= 0 or len(strata) < 2:
        return np.zeros(len(strata), dtype=bool)
    _, first, class_of, sizes = np.unique(identities, return_index=True, return_inverse=True, return_counts=True)
    stratum_of_class = strata[first]
    quotas = apportion(max(1, round(fraction * len(strata))), np.bincount(stratum_of_class, weights=sizes))
    held = np.zeros(len(sizes), dtype=bool)
    for stratum, quota in enumerate(quotas):
        classes = np.flatnonzero(stratum_of_class == stratum)
        held[classes[draw(sizes[classes], quota, np.random.default_rng([seed, stratum]))]] = True
    return held[class_of]
