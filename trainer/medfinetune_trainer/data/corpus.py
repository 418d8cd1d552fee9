"""Corpus: the documents of several sources, numbered end to end, so that split, mixture and packing speak of plain numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from datasets import Dataset, concatenate_datasets
from medfinetune_api.choices import Stratum
from medfinetune_api.plan_data import SourcePlan
from numpy.typing import NDArray

from medfinetune_trainer.data.documents import Documents
from medfinetune_trainer.data.mixture import Pool

Indices = NDArray[np.int64]
T = TypeVar("T", bound=np.generic)
COLUMNS = ["input_ids", "loss_mask", "source", "language", "domain", "subject"]
"""Of the datasets written for training."""


class Corpus:
    """N documents of S sources. `lengths`, `loss_tokens`, `identities` and `source_of` (which of the sources a document is of): (N,)."""

    def __init__(self, sources: Sequence[tuple[SourcePlan, Documents]]) -> None:
        self.sources = tuple(sources)
        self.lengths = _joined([documents.lengths for _, documents in sources], np.int32)
        self.loss_tokens = _joined([documents.loss_tokens for _, documents in sources], np.int32)
        self.identities = _joined([documents.identities for _, documents in sources], np.int64)
        self.source_of = np.repeat(np.arange(len(sources)), [len(documents.lengths) for _, documents in sources])

    def __len__(self) -> int:
        """N."""
        return len(self.lengths)

    def by_source(self, numbers: Indices) -> Indices:
        """How many of `numbers` are of each source: (S,)."""
        return np.bincount(self.source_of[numbers], minlength=len(self.sources))

    def strata(self, by: Sequence[Stratum]) -> Indices:
        """Number of each document's stratum, from 0 without gaps, in order of the strata's names: (N,)."""
        names = [
            f"{source.language if Stratum.LANGUAGE in by else ''}\0{subject if Stratum.SUBJECT in by else ''}"
            for source, documents in self.sources
            for subject in documents.subjects
        ]
        numbers = np.unique(np.array(names, dtype=str), return_inverse=True)[1]
        starts = np.cumsum([0, *(len(documents.subjects) for _, documents in self.sources)])
        return _joined([numbers[start + documents.subject_of] for start, (_, documents) in zip(starts[:-1], self.sources, strict=True)], np.int64)

    def pools(self, available: Indices) -> Iterator[tuple[Pool, Indices]]:
        """Of each source, what of `available` (ascending) belongs to it, as a pool for the mixture and by number."""
        for i, (source, _) in enumerate(self.sources):
            numbers = available[self.source_of[available] == i]
            yield Pool(source.name, source.language, source.domain, self.lengths[numbers]), numbers

    def write(self, numbers: Indices, folder: Path) -> None:
        """Write the documents of `numbers`, ascending and each once, as a dataset of COLUMNS, in this order. Document k of it is `numbers[k]`."""
        starts = np.searchsorted(self.source_of, np.arange(len(self.sources)))
        parts = [
            Dataset.from_file(str(documents.file)).select_columns(COLUMNS).select(numbers[self.source_of[numbers] == i] - starts[i])
            for i, (_, documents) in enumerate(self.sources)
        ]
        concatenate_datasets(parts).save_to_disk(str(folder))


def _joined(arrays: Sequence[NDArray[T]], dtype: type[T]) -> NDArray[T]:
    return np.concatenate([np.empty(0, dtype=dtype), *arrays])
