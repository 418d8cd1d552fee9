"""Mixtures reach the ratio that was asked, lose no record where they repeat, and repeat none where they drop."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from medfinetune_api.choices import MixBy, MixFill, MixUnit
from medfinetune_api.errors import InvalidManifest
from medfinetune_api.plan_data import MixturePlan
from medfinetune_trainer.data.mixture import Pool, mix

LANGUAGES = ("en", "ko", "de")


def pool(name: str, language: str, lengths: list[int], domain: str = "medical") -> Pool:
    return Pool(name, language, domain, np.array(lengths, dtype=np.int32))


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Pool], dict[str, float]]:
    """One to three sources for each of two or three languages, and a ratio between one to ten and ten to one."""
    languages = LANGUAGES[: draw(st.integers(2, 3))]
    lengths = st.lists(st.integers(1, 50), min_size=1, max_size=60)
    pools = [pool(f"{language}-{i}", language, draw(lengths)) for language in languages for i in range(draw(st.integers(1, 3)))]
    return pools, {language: draw(st.integers(1, 10)) for language in languages}


def drawn(pools: list[Pool], ratio: dict[str, float], unit: MixUnit, fill: MixFill, seed: int = 0) -> list[list[int]]:
    """The mixture's indices; examples whose ratio leaves a group without a record, or repeats one without measure, are passed over."""
    try:
        return [indices.tolist() for indices in mix(pools, MixturePlan(by=MixBy.LANGUAGE, ratio=ratio, unit=unit, fill=fill), seed)]
    except InvalidManifest as refusal:
        assume("too small" not in str(refusal) and "passes over a group" not in str(refusal))
        raise


@given(problems(), st.sampled_from(MixUnit), st.sampled_from(MixFill))
def test_shares_are_those_asked_for(problem: tuple[list[Pool], dict[str, float]], unit: MixUnit, fill: MixFill) -> None:
    pools, ratio = problem
    chosen = drawn(pools, ratio, unit, fill)
    amounts = dict.fromkeys(ratio, 0)
    for each, indices in zip(pools, chosen, strict=True):
        amounts[each.language] += int(each.lengths[indices].sum()) if unit is MixUnit.TOKENS else len(indices)
    longest = max(int(each.lengths.max()) for each in pools) if unit is MixUnit.TOKENS else 1
    for language, share in ratio.items():
        assert abs(amounts[language] - sum(amounts.values()) * share / sum(ratio.values())) <= longest


@given(problems(), st.sampled_from(MixUnit))
def test_downsampling_repeats_no_record_and_keeps_a_scarcest_group_all_but_whole(problem: tuple[list[Pool], dict[str, float]], unit: MixUnit) -> None:
    pools, ratio = problem
    chosen = drawn(pools, ratio, unit, MixFill.DOWNSAMPLE)
    assert all(len(set(indices)) == len(indices) for indices in chosen)
    left_out = {language: sum(len(p.lengths) - len(c) for p, c in zip(pools, chosen, strict=True) if p.language == language) for language in ratio}
    assert min(left_out.values()) <= 1


@given(problems(), st.sampled_from(MixUnit))
def test_repeating_drops_no_record(problem: tuple[list[Pool], dict[str, float]], unit: MixUnit) -> None:
    pools, ratio = problem
    chosen = drawn(pools, ratio, unit, MixFill.REPEAT)
    assert all(set(indices) == set(range(len(each.lengths))) for each, indices in zip(pools, chosen, strict=True))


@given(problems(), st.sampled_from(MixUnit), st.sampled_from(MixFill), st.randoms(use_true_random=False))
def test_the_same_seed_draws_the_same_whatever_the_order_of_sources(
    problem: tuple[list[Pool], dict[str, float]], unit: MixUnit, fill: MixFill, random: Random
) -> None:
    pools, ratio = problem
    shuffled = random.sample(pools, len(pools))
    by_name = dict(zip((each.name for each in shuffled), drawn(shuffled, ratio, unit, fill), strict=True))
    assert [by_name[each.name] for each in pools] == drawn(pools, ratio, unit, fill)


def test_another_seed_draws_others() -> None:
    pools, ratio = [pool("a", "en", [1] * 100), pool("b", "ko", [1] * 10)], {"en": 5, "ko": 5}
    first, second = (drawn(pools, ratio, MixUnit.SAMPLES, MixFill.DOWNSAMPLE, seed)[0] for seed in (0, 1))
    assert len(first) == len(second) == 10
    assert first != second


@pytest.mark.parametrize("by", MixBy)
def test_ratio_counts_by_language_source_or_domain(by: MixBy) -> None:
    pools = [pool("a", "en", [1] * 30, "general"), pool("b", "ko", [1] * 10, "medical")]
    names = {MixBy.LANGUAGE: ("en", "ko"), MixBy.SOURCE: ("a", "b"), MixBy.DOMAIN: ("general", "medical")}[by]
    mixture = MixturePlan(by=by, ratio=dict(zip(names, (2, 1), strict=True)), unit=MixUnit.SAMPLES, fill=MixFill.DOWNSAMPLE)
    assert [len(indices) for indices in mix(pools, mixture, 0)] == [20, 10]


def test_without_a_mixture_every_record_is_chosen_once() -> None:
    assert [indices.tolist() for indices in mix([pool("a", "en", [1, 2, 3])], None, 0)] == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("ratio", "lengths", "says"),
    [
        ({"en": 5, "kr": 5}, [1], "ratio.ko: found no share for a language that source b has"),
        ({"en": 5, "ko": 5, "de": 1}, [1], "ratio.de: found a language that no source has; expected one of en, ko"),
        ({"en": 5, "ko": 5}, [], "ratio.ko: found a language without a record left to train on"),
        ({"en": 1, "ko": 1000}, [1], "ratio.en: found a share too small for a single record"),
    ],
)
def test_ratios_that_cannot_be_reached_are_refused_by_field(ratio: dict[str, float], lengths: list[int], says: str) -> None:
    mixture = MixturePlan(by=MixBy.LANGUAGE, ratio=ratio, unit=MixUnit.SAMPLES, fill=MixFill.DOWNSAMPLE)
    with pytest.raises(InvalidManifest, match="spec.data.mixture." + says):
        mix([pool("a", "en", [1]), pool("b", "ko", lengths)], mixture, 0)


@pytest.mark.parametrize(
    ("sizes", "ratio", "says"),
    [
        ((1000, 1000), {"en": 1000, "ko": 0.01}, r"ratio\.en: found a share that repeats it 100,000 times in an epoch"),
        ((1, 5000), {"en": 1, "ko": 1}, r"ratio\.en: found a share that repeats it 5,000 times in an epoch, which grows 2 times"),
        ((1000, 1000), {"en": 900, "ko": 1}, r"ratio\.en: found .* 900 times in an epoch, which grows 450 times as large as the data"),
    ],
)
def test_repetition_beyond_measure_is_refused_with_its_figure(sizes: tuple[int, int], ratio: dict[str, float], says: str) -> None:
    pools = [pool("a", "en", [1] * sizes[0]), pool("b", "ko", [1] * sizes[1])]
    with pytest.raises(InvalidManifest, match=says):
        mix(pools, MixturePlan(by=MixBy.LANGUAGE, ratio=ratio, unit=MixUnit.SAMPLES, fill=MixFill.REPEAT), 0)
