"""The validation split keeps every stratum in proportion and identical records on one side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from medfinetune_api.choices import Format, Stratum
from medfinetune_api.plan_data import SourcePlan
from medfinetune_trainer.data.apportion import apportion
from medfinetune_trainer.data.corpus import Corpus
from medfinetune_trainer.data.documents import Documents
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


FEW = st.lists(st.sampled_from(["doctor", "nurse", ""]), min_size=1, max_size=10)


@given(st.lists(st.tuples(st.sampled_from(["en", "ko"]), FEW), max_size=3), st.sets(st.sampled_from(Stratum)))
def test_strata_are_numbered_in_order_of_their_names(sources: list[tuple[str, list[str]]], by: set[Stratum]) -> None:
    corpus = Corpus([(source(language), documents(subjects)) for language, subjects in sources])
    kept = [(language if Stratum.LANGUAGE in by else "", subject if Stratum.SUBJECT in by else "") for language, subjects in sources for subject in subjects]
    assert corpus.strata(sorted(by)).tolist() == [sorted(set(kept)).index(name) for name in kept]


def source(language: str) -> SourcePlan:
    return SourcePlan(name="a", path="a.jsonl", format=Format.MEDQA, language=language, domain="medical", subject=None, columns=None)


def documents(subjects: list[str]) -> Documents:
    names, subject_of = np.unique(subjects, return_inverse=True)
    none = np.zeros(len(subjects), dtype=np.int32)
    return Documents(Path(), none, none, none.astype(np.int64), tuple(names.tolist()), subject_of.astype(np.int32), len(subjects), 0, 0)
