"""A part of a test set that stands for the whole: drawn by seed, each subject in proportion to its size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medfinetune_trainer.data.apportion import apportion


def stratified_sample(strata: Sequence[str], limit: int | None, seed: int) -> list[int]:
    """Indexes of at most `limit` items in rising order, `strata[i]` naming the stratum of item i; None keeps all.

    No stratum is a whole item from its exact share (largest remainders). The draw depends on strata, limit and seed alone.
    """
    if limit is None or limit >= len(strata):
        return list(range(len(strata)))
    names, stratum_of = np.unique(np.asarray(strata), return_inverse=True)
    chosen: list[int] = []
    for stratum, quota in enumerate(apportion(limit, np.bincount(stratum_of, minlength=len(names)))):
        members = np.flatnonzero(stratum_of == stratum)
        chosen += np.random.default_rng([seed, stratum]).choice(members, quota, replace=False).tolist()
    return sorted(chosen)
