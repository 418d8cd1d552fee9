"""Intervals, groups and samples: against statsmodels and against their definitions."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medfinetune_trainer.evaluation.sampling import stratified_sample
from medfinetune_trainer.evaluation.statistics import score, score_by, wilson_interval
from statsmodels.stats.proportion import proportion_confint


@given(st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_interval_is_wilsons(case: tuple[int, int], confidence: float) -> None:
    correct, n = case
    expected = proportion_confint(correct, n, alpha=1 - confidence, method="wilson")
    assert wilson_interval(correct, n, confidence) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (2, 1), (-1, 3)])
def test_no_interval_of_no_proportion(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson_interval(correct, n)


def test_groups_are_scored_apart_and_sum_to_the_whole() -> None:
    outcomes = [("nurse", True), ("doctor", False), ("nurse", False), ("doctor", True), ("nurse", True)]
    groups = score_by(outcomes)
    assert {name: (group.n, group.accuracy) for name, group in groups.items()} == {"doctor": (2, 0.5), "nurse": (3, 2 / 3)}
    assert score(right for _, right in outcomes).n == sum(group.n for group in groups.values())


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=300), st.integers(1, 300), st.integers(0, 5))
def test_a_sample_keeps_every_stratum_within_one_of_its_share(strata: list[str], limit: int, seed: int) -> None:
    chosen = stratified_sample(strata, limit, seed)
    assert chosen == sorted(set(chosen)) == stratified_sample(strata, limit, seed)
    assert len(chosen) == min(limit, len(strata))
    drawn = Counter(strata[i] for i in chosen)
    for name, size in Counter(strata).items():
        assert abs(drawn[name] - size * len(chosen) / len(strata)) < 1


def test_another_seed_draws_another_sample() -> None:
    strata = ["nurse"] * 60 + ["doctor"] * 40
    assert stratified_sample(strata, 20, 0) != stratified_sample(strata, 20, 1)
    assert stratified_sample(strata, None, 0) == list(range(100))
