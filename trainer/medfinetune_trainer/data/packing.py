"""Packing: documents share rows of `max_length` tokens, best fit, longest first.

Best-fit decreasing (Johnson 1973) puts each document, from the longest, into the fullest row that still has room. Lengths are whole numbers up to
`max_length`, so rows with equal room are alike, and documents of one length are alike: whole runs of documents meet whole runs of rows. The time is
that of sorting plus one step for each (length, room) pair met, whatever the number of documents; memory is a few integers a document. No document is
cut, dropped or repeated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]


def pack(lengths: Ints, max_length: int) -> Ints:
    """The row of every document: (N,) int32, rows numbered from 0 without gaps.

    Args:
        lengths: tokens of each document, (N,), each within 1 and `max_length`.
        max_length: tokens a row holds.

    Raises:
        ValueError: a length is out of bounds; the over-long policy comes before.
    """
    if not lengths.size:
        return np.empty(0, dtype=np.int32)
    if not 1 <= lengths.min() <= lengths.max() <= max_length:
        raise ValueError(f"document lengths must lie within 1 and {max_length}")
    rows = _Rows(max_length)
    row_of = np.empty(len(lengths), dtype=np.int32)
    order = np.argsort(-lengths, kind="stable").astype(np.int32)
    for documents in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        _place(documents, int(lengths[documents[0]]), rows, row_of)
    return row_of


def efficiency(lengths: NDArray[np.integer[Any]], rows: int, max_length: int) -> float:
    """PackingEfficiency: sum of token counts over all samples / (rows x max_length) (Yoo et al. 2026, data preparation); 0 without rows."""
    return float(lengths.sum(dtype=np.int64) / (rows * max_length)) if rows else 0.0


class _Rows:
    """Open rows by the room they have left, and a bit for every room that some row has."""

    def __init__(self, max_length: int) -> None:
        self.max_length, self.count, self._bits = max_length, 0, 0
        self._with_room: list[Ints] = [np.empty(0, dtype=np.int32)] * (max_length + 1)

    def take(self, length: int, documents: int) -> tuple[int, Ints]:
        """The least room that fits `length`, and as many rows of that room as `documents` can fill; new rows where none fits."""
        fitting = self._bits >> length
        if not fitting:
            wanted = -(-documents // (self.max_length // length))
            self.count += wanted
            return self.max_length, np.arange(self.count - wanted, self.count, dtype=np.int32)
        room = length + (fitting & -fitting).bit_length() - 1
        wanted = -(-documents // (room // length))
        rows, self._with_room[room] = np.split(self._with_room[room], [wanted])
        if not self._with_room[room].size:
            self._bits &= ~(1 << room)
        return room, rows

    def put(self, room: int, rows: Ints) -> None:
        """Give rows back with `room` left; full ones are closed."""
        if room and rows.size:
            self._with_room[room] = np.concatenate([self._with_room[room], rows])
            self._bits |= 1 << room


def _place(documents: Ints, length: int, rows: _Rows, row_of: Ints) -> None:
    """Place documents of one length. A row that took one and has room for another is again the best fit, so each row takes all it can before the next."""
    while documents.size:
        room, taken = rows.take(length, documents.size)
        each = room // length
        placed = min(documents.size, each * taken.size)
        row_of[documents[:placed]] = np.repeat(taken, each)[:placed]
        in_last = placed - each * (taken.size - 1)
        rows.put(room - each * length, taken[:-1])
        rows.put(room - in_last * length, taken[-1:])
        documents = documents[placed:]
