"""The validation split keeps every stratum in proportion and identical records on one side."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from medfinetune_trainer.data.apportion import apportion
from medfinetune_trainer.data.split import split

fractions = st.floats(0.01, 0.5)


@given(st.integers(0, 10_000), st.lists(st.integers(0, 1000), min_size=1, max_size=20).filter(any))
def test_apportion_stays_within_the_quota(total: int, weights: list[int]) -> None:
    shares = apportion(total, weights)
    assert shares.sum() == total
    assert all(abs(share - total * weight / sum(weights)) < 1 + 1e-6 for share, weight in zip(shares, weights, strict=True))
    assert all(share == 0 for share, weight in zip(shares, weights, strict=True) if weight == 0)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6).filter(lambda sizes: sum(sizes) > 1), fractions, st.integers(0, 5))
def test_every_stratum_gives_its_share_of_distinct_records(sizes: list[int], fraction: float, seed: int) -> None:
    strata = np.repeat(np.arange(len(sizes)), sizes)
    held = split(strata, np.arange(len(strata)), fraction, seed)
    assert held.sum() == max(1, round(fraction * len(strata)))
    assert all(abs(of - held.sum() * size / len(strata)) < 1 + 1e-6 for of, size in zip(np.bincount(strata, weights=held), sizes, strict=True))
    assert (held == split(strata, np.arange(len(strata)), fraction, seed)).all()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), min_size=2, max_size=100), fractions)
def test_identical_records_are_on_one_side(records: list[tuple[int, int]], fraction: float) -> None:
    numbers = {stratum: i for i, stratum in enumerate(sorted({stratum for stratum, _ in records}))}
    strata = np.array([numbers[stratum] for stratum, _ in records])
    identities = np.array([identity for _, identity in records])
    held = split(strata, identities, fraction, seed=0)
    assert not set(identities[held]) & set(identities[~held])


def test_nothing_is_held_out_of_a_single_record_or_for_no_fraction() -> None:
    assert not split(np.array([0]), np.array([7]), 0.5, 0).any()
    assert not split(np.array([0, 0]), np.array([7, 8]), 0.0, 0).any()
