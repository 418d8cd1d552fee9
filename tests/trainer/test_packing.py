"""Packing against the plain best-fit-decreasing algorithm, and the index of an epoch as it lies on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medfinetune_api.choices import Packing
from medfinetune_trainer.data.documents import lengths_of
from medfinetune_trainer.data.epochs import read_index, write_index
from medfinetune_trainer.data.packing import efficiency, pack

MAX = 64
lengths_lists = st.lists(st.integers(1, MAX), max_size=200)


def best_fit_decreasing(lengths: list[int], max_length: int) -> list[int]:
    """Rooms left in the rows, by the textbook's algorithm: one document at a time, the fullest row that fits."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [i for i, room in enumerate(rooms) if room >= length]
        if not fitting:
            rooms.append(max_length)
            fitting = [len(rooms) - 1]
        rooms[min(fitting, key=rooms.__getitem__)] -= length
    return sorted(rooms)


@given(lengths_lists)
def test_pack_is_best_fit_decreasing(lengths: list[int]) -> None:
    array = np.array(lengths, dtype=np.int32)
    row_of = pack(array, MAX)
    filled = np.bincount(row_of, weights=array) if lengths else np.zeros(0)
    assert sorted(MAX - filled) == best_fit_decreasing(lengths, MAX)
    assert set(row_of) == set(range(len(filled)))


@pytest.mark.parametrize("length", [0, MAX + 1])
def test_pack_refuses_lengths_that_no_row_holds(length: int) -> None:
    with pytest.raises(ValueError, match="within 1 and 64"):
        pack(np.array([3, length], dtype=np.int32), MAX)


def test_efficiency_is_the_study_s() -> None:
    assert efficiency(np.array([3, 4, 5], dtype=np.int32), rows=2, max_length=8) == 12 / 16


@given(lengths_lists, st.sampled_from(Packing), st.data())
def test_index_holds_every_document_as_often_as_chosen_within_max_length(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], packing: Packing, data: st.DataObject
) -> None:
    array = np.array(lengths, dtype=np.int32)
    chosen = st.lists(st.sampled_from(range(len(lengths))), max_size=300) if lengths else st.just([])
    documents = np.array(data.draw(chosen), dtype=np.int32)
    file = tmp_path_factory.mktemp("index") / "epoch-0.arrow"
    rows = write_index(file, documents, array, max_length=MAX, packing=packing, seed=(0, 0))
    read = read_index(file).to_pylist()
    assert len(read) == rows
    assert sorted(number for row in read for number in row) == sorted(documents)
    assert all(0 < sum(lengths[number] for number in row) <= MAX for row in read)
    assert packing is Packing.BEST_FIT or all(len(row) == 1 for row in read)


def test_index_depends_on_seed_and_epoch_alone(tmp_path: Path) -> None:
    lengths = np.random.default_rng(0).integers(1, MAX, 500).astype(np.int32)

    def index(seed: int, epoch: int) -> list[list[int]]:
        file = tmp_path / "index.arrow"
        write_index(file, np.arange(500, dtype=np.int32), lengths, max_length=MAX, packing=Packing.BEST_FIT, seed=(seed, epoch))
        rows: list[list[int]] = read_index(file).to_pylist()
        return rows

    first = index(0, 0)
    assert index(0, 0) == first
    for other in (index(0, 1), index(1, 0)):
        assert other != first
        assert len(other) == len(first)
        assert {frozenset(row) for row in other} != {frozenset(row) for row in first}


@given(st.lists(st.lists(st.integers(0, 9), min_size=1), max_size=20), st.integers(1, 7))
def test_lengths_come_from_the_offsets_of_any_batching(tmp_path_factory: pytest.TempPathFactory, documents: list[list[int]], batch: int) -> None:
    table = pa.table({"input_ids": pa.array(documents, pa.list_(pa.int32()))})
    file = tmp_path_factory.mktemp("documents") / "documents.arrow"
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch)
    assert lengths_of(file).tolist() == [len(document) for document in documents]
