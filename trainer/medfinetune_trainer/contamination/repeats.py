"""Repeats: training records that repeat an earlier one. Counted, never removed: what is trained on twice is the mixture's to decide.

Memory holds 16 bytes a record and one band of buckets at a time; n-grams, buckets and vectors wait in files of the scratch folder. By n-grams a record is
compared with the one before it in each of its buckets, and so the count is a lower bound.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from medfinetune_api.results_screening import Detection
from numpy.typing import NDArray

from medfinetune_trainer.contamination.buckets import bands
from medfinetune_trainer.contamination.embeddings import Vectors
from medfinetune_trainer.contamination.items import Item
from medfinetune_trainer.contamination.matching import STRICTEST, first_rows
from medfinetune_trainer.contamination.ngrams import Shingles, jaccard

BLOCK = 4096
"""Vectors that are compared at once."""

Pairs = Counter[tuple[int, int, Detection]]
"""(source of the later record, source of the earlier, method) -> records."""


class Repeats:
    """The training records so far, in order; `folder` is scratch. Shingles and keys are those of the text that stands for a record."""

    def __init__(self, folder: Path, threshold: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._threshold = folder, threshold
        self._sources, self._offsets = array("H"), array("Q", [0])
        self._exact, self._normalised = array("Q"), array("Q")
        self._shingles = (folder / "shingles").open("wb")
        self._bands = [(folder / f"band-{band}").open("wb") for band in range(bands(threshold)[0])]
        self._vectors: dict[str, list[int]] = {}

    def add(self, records: Sequence[Item], keys: NDArray[np.uint64]) -> None:
        """Take the next records; `keys` as `matching.keys_of` gives them."""
        rows = np.fromiter(first_rows(records), np.int64, len(records))
        # A record without n-grams is alone in its buckets: its number, in a range that no hash of 64 bits is likely to reach.
        own = np.arange(len(self), len(self) + len(records), dtype=np.uint64)
        for band, file in enumerate(self._bands):
            np.where(rows < 0, own, keys[:, band][rows] if len(keys) else own).tofile(file)
        for record in records:
            text = record.texts[0]
            self._sources.append(record.group)
            self._exact.append(text.exact)
            self._normalised.append(text.normalised)
            text.shingles.tofile(self._shingles)
            self._offsets.append(self._offsets[-1] + len(text.shingles))

    def add_vectors(self, language: str, numbers: Sequence[int], vectors: Vectors) -> None:
        """Take vectors (N, D) of the records `numbers`, counted from 0 over all sources, in one language."""
        self._vectors.setdefault(language, []).extend(numbers)
        with (self._folder / f"vectors-{language}").open("ab") as file:
            vectors.astype(np.float16).tofile(file)

    def __len__(self) -> int:
        """Records taken so far."""
        return len(self._sources)

    def by_source(self, sources: int) -> tuple[int, ...]:
        """Records taken of each of the `sources`."""
        return tuple(np.bincount(np.asarray(self._sources, np.int64), minlength=sources).tolist())

    def count(self, similarity: float) -> Pairs:
        """Each record that repeats an earlier one, once, by the strictest method. `similarity`: cosine above which vectors count as the same."""
        for file in (self._shingles, *self._bands):
            file.close()
        earlier = {Detection.EXACT: _first(self._exact), Detection.NORMALISED: _first(self._normalised)}
        earlier[Detection.NGRAM], earlier[Detection.EMBEDDING] = self._by_ngrams(), self._by_vectors(similarity)
        sources, found, pairs = np.asarray(self._sources), np.zeros(len(self), bool), Counter[tuple[int, int, Detection]]()
        for method in STRICTEST:
            later = np.flatnonzero(~found & (earlier[method] >= 0))
            found[later] = True
            pairs.update((int(one), int(other), method) for one, other in zip(sources[later], sources[earlier[method][later]], strict=True))
        return pairs

    def _by_ngrams(self) -> NDArray[np.int64]:
        found = np.full(len(self), -1)
        with (self._folder / "shingles").open("rb") as file:
            for band in range(len(self._bands)):
                for before, number in _neighbours(np.fromfile(self._folder / f"band-{band}", np.uint64)):
                    if found[number] < 0 and jaccard(self._read(file.fileno(), before), self._read(file.fileno(), number)) >= self._threshold:
                        found[number] = before
        return found

    def _read(self, file: int, number: int) -> Shingles:
        start, end = self._offsets[number], self._offsets[number + 1]
        return np.frombuffer(os.pread(file, 4 * (end - start), 4 * start), np.uint32)

    def _by_vectors(self, similarity: float) -> NDArray[np.int64]:
        found = np.full(len(self), -1)
        for language, numbers in self._vectors.items():
            of = np.asarray(numbers)
            vectors = np.memmap(self._folder / f"vectors-{language}", np.float16, "r").reshape(len(of), -1)
            for later, earlier in _close(vectors, similarity):
                found[of[later]] = of[earlier]
        return found


def _first(hashes: array[int]) -> NDArray[np.int64]:
    """For each record the first of the same hash, -1 where it is the first itself."""
    _, first, of = np.unique(np.asarray(hashes), return_index=True, return_inverse=True)
    earliest: NDArray[np.int64] = first[of]
    return np.where(earliest == np.arange(len(of)), -1, earliest)


def _neighbours(keys: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """Pairs of records next to each other in one bucket, the earlier first."""
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
    yield from zip(order[same].tolist(), order[same + 1].tolist(), strict=True)


def _close(vectors: NDArray[np.float16], similarity: float) -> Iterator[tuple[int, int]]:
    """(later, one earlier) for each vector with an earlier one whose cosine exceeds `similarity`."""
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK].astype(np.float32)
        for before in range(0, start + 1, BLOCK):
            cosines = block @ vectors[before : before + BLOCK].astype(np.float32).T
            if before == start:
                cosines[np.triu_indices_from(cosines)] = -1
            best = cosines.argmax(axis=1) if cosines.size else np.empty(0, np.int64)
            for row in np.flatnonzero(np.take_along_axis(cosines, best[:, None], 1)[:, 0] > similarity):
                yield start + int(row), before + int(best[row])
