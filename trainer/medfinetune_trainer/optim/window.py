"""Which rows of a step's window a rank runs, so that a step is the same step whatever the micro-batch and the world size.

A step's window is `rows_per_step` consecutive rows of the epoch's index (the last window of an epoch may be shorter). Its rows form micro-batches j = 0, 1,
... of `micro_batch` rows; rank r of W runs j = k W + r for k = 0, 1, ... Every rank runs the same number of them, because FSDP's collectives deadlock
otherwise: one that is short of a row runs the window's first row again, without its loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True)
class MicroBatch:
    """One forward and backward pass of one rank."""

    number: int
    """j: the micro-batch's number in the window, from 0; beyond the last one where it only keeps the ranks in step."""
    rows: range
    """Rows of the epoch's index."""
    counts: bool
    """False where its loss is left out."""


@dataclass(frozen=True)
class Window:
    """The rows of one optimizer step."""

    step: int
    """Number of the optimizer step, from 1."""
    epoch: int
    """Epoch, from 0."""
    rows: range
    """Rows of the epoch's index."""
    ends_epoch: bool


def micro_batches(rows: range, size: int, rank: int, world_size: int) -> list[MicroBatch]:
    """What `rank` runs of `rows` (at least one): every row on exactly one rank, the same number of micro-batches on each."""
    total = ceil(len(rows) / size)
    return [_micro_batch(rows, size, k * world_size + rank, total) for k in range(ceil(total / world_size))]


def windows(epoch_rows: Sequence[int], rows_per_step: int, done: int = 0) -> Iterator[Window]:
    """Every step's window in order, for epochs of `epoch_rows` rows, without the first `done` steps."""
    step = 0
    for epoch, total in enumerate(epoch_rows):
        for start in range(0, total, rows_per_step):
            step += 1
            if step > done:
                stop = min(start + rows_per_step, total)
                yield Window(step, epoch, range(start, stop), ends_epoch=stop == total)


def _micro_batch(rows: range, size: int, number: int, total: int) -> MicroBatch:
    if number < total:
        return MicroBatch(number, rows[number * size : (number + 1) * size], counts=True)
    return MicroBatch(number, rows[:1], counts=False)
