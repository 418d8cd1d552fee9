"""A part of a test set that stands for the whole: drawn by seed, each subject in proportion to its size."""

from __future__ import annotations

import random
from collections.abc import Sequence


def stratified_sample(strata: Sequence[str], limit: int | None, seed: int) -> list[int]:
    """Indexes of at most `limit` items in rising order, `strata[i]` naming the stratum of item i; None keeps all.

    Seats go by largest remainder (Hamilton's method), so that no stratum is more than one item from its exact share. The draw depends on strata, limit and seed alone.
    """
    if limit is None or limit >= len(strata):
        return list(range(len(strata)))
    members: dict[str, list[int]] = {}
    for index, name in enumerate(strata):
        members.setdefault(name, []).append(index)
    seats = _largest_remainder({name: len(indexes) for name, indexes in members.items()}, limit)
    generator = random.Random(seed)
    return sorted(index for name in sorted(members) for index in generator.sample(members[name], seats[name]))


def _largest_remainder(sizes: dict[str, int], seats: int) -> dict[str, int]:
    total = sum(sizes.values())
    given = {name: seats * size // total for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: (-(seats * sizes[name] % total), name))
    for name in by_remainder[: seats - sum(given.values())]:
        given[name] += 1
    return given
