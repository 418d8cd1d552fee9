"""One index an epoch, written before training: which documents lie in which row, and in which order the rows come.

All epochs hold the same documents in as many rows, so the steps of a run are known before it starts and a run that continues finds its place by
number. What a new epoch changes is the order of the rows and which documents of one length share them. Draws are numpy's PCG64, seeded by the run's
seed and the epoch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from medfinetune_api.choices import Packing
from numpy.typing import NDArray

from medfinetune_trainer.data.packing import pack

Ints = NDArray[np.int32]
VALIDATION = "validation"
"""Name of the validation index; the others are `epoch_name(0)` and so on."""


def epoch_name(epoch: int) -> str:
    """Name of the index of an epoch, from 0."""
    return f"epoch-{epoch}"


def write_index(file: Path, documents: Ints, lengths: Ints, *, max_length: int, packing: Packing, seed: tuple[int, int]) -> int:
    """Pack `documents` into rows in an order of their own for each seed, write the index to `file`, and return the number of rows.

    Args:
        file: Arrow IPC file; column `documents`, list<int32>, one list a row.
        documents: document numbers, (K,); a repeated document as often as it is trained on.
        lengths: tokens of every document by its number, (N,).
        max_length: tokens a row holds.
        packing: BestFit, or None for one document a row.
        seed: run's seed and epoch.
    """
    random = np.random.default_rng(seed)
    documents = random.permutation(documents)
    row_of = pack(lengths[documents], max_length) if packing is Packing.BEST_FIT else np.arange(len(documents), dtype=np.int32)
    rows = int(row_of.max(initial=-1)) + 1
    row_of = random.permutation(rows).astype(np.int32)[row_of]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=rows))]).astype(np.int32)
    lists = pa.ListArray.from_arrays(offsets, documents[np.argsort(row_of, kind="stable")])
    table = pa.table({"documents": lists})
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return rows


def read_index(file: Path) -> pa.ChunkedArray:
    """The `documents` column of an index, memory-mapped."""
    with pa.memory_map(str(file)) as source:
        return pa.ipc.open_file(source).read_all().column("documents")
