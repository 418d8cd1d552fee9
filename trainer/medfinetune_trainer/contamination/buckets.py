"""Buckets: which of many sets of n-grams may be alike, without comparing each with each (locality-sensitive hashing by MinHash bands; Leskovec, Rajaraman and
Ullman, Mining of Massive Datasets, section 3.4).

The signatures are datasketch's. Its index is not used: a dictionary of sets a band takes kilobytes a text, sorted keys 8 bytes a text and band, and a batch of
records finds its buckets by binary search at once. What shares a bucket is a candidate; who asks measures it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medfinetune_trainer.contamination.ngrams import Shingles

PERMUTATIONS = 256
FOUND = 0.95
"""Least probability that texts at the threshold itself share a bucket; above the threshold it rises quickly."""

Keys = NDArray[np.uint64]
"""Bucket of each text in each band: (N, B)."""


def bands(threshold: float) -> tuple[int, int]:
    """Bands B and rows R of a band, as many rows as leave texts at the threshold FOUND probable to share a bucket: 1 - (1 - threshold^R)^B."""
    rows = next((r for r in range(PERMUTATIONS, 1, -1) if 1 - (1 - threshold**r) ** (PERMUTATIONS // r) >= FOUND), 1)
    return PERMUTATIONS // rows, rows


def bucket_keys(texts: Sequence[Shingles], threshold: float) -> Keys:
    """The buckets of each text: (N, B). A text without n-grams is in the same buckets as all others without."""
    from datasketch import MinHash

    count, rows = bands(threshold)
    made = MinHash.bulk((text.tolist() for text in texts), num_perm=PERMUTATIONS, seed=1, hashfunc=int)
    signatures = np.array([each.hashvalues for each in made], dtype=np.uint64).reshape(-1, PERMUTATIONS)
    banded = signatures[:, : count * rows].reshape(-1, count, rows)
    factors = np.random.default_rng(1).integers(1 << 62, size=rows, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    keys: Keys = (banded * factors).sum(axis=2, dtype=np.uint64)
    return keys


class Buckets:
    """The buckets of the M texts that others are looked up among."""

    def __init__(self, keys: Keys) -> None:
        order = np.argsort(keys, axis=0, kind="stable")
        self._order, self._keys = order.T.copy(), np.take_along_axis(keys, order, axis=0).T.copy()

    def candidates(self, keys: Keys) -> NDArray[np.int64]:
        """Pairs (row of `keys`, text) that share a bucket, each once, by row: (P, 2)."""
        found, texts = np.empty(0, np.int64), self._order.shape[1]
        for band in range(len(self._keys)):
            found = np.union1d(found, self._in_band(band, keys[:, band], texts))  # band by band: many texts alike would fill memory
        pairs: NDArray[np.int64] = np.stack(np.divmod(found, max(1, texts)), axis=1)
        return pairs

    def _in_band(self, band: int, keys: Keys, texts: int) -> NDArray[np.int64]:
        """row x texts + text of each pair."""
        first, last = (np.searchsorted(self._keys[band], keys, side) for side in ("left", "right"))
        sizes = last - first
        rows = np.repeat(np.arange(len(keys)), sizes)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        codes: NDArray[np.int64] = rows * texts + self._order[band][first[rows] + within]
        return codes
