"""Meaning: questions and records compared by an embedding model, in the languages in which it has shown that it can.

The model is tried before it is used: on a sample of the very texts that are to be compared. All their pairs count as unrelated, repeats and paraphrases among
them too: in a sample of some size these are few, and of a small one no more can be said than that the model found too many.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

import numpy as np
from medfinetune_api.results_screening import Detection, EmbeddingTrial
from numpy.typing import NDArray

from medfinetune_trainer.contamination.embeddings import Embedder, Vectors
from medfinetune_trainer.contamination.items import Item
from medfinetune_trainer.contamination.matching import Match, Matches, keep_better

SAMPLE = 100
"""Questions, and records, of each language whose pairs the model is tried on."""

Samples = Mapping[str, Sequence[Item]]
"""Items by language."""


def sample(items: Iterable[Item], seed: int) -> dict[str, list[Item]]:
    """At most SAMPLE items of each language, each as likely as any other (reservoir sampling, Vitter 1985, algorithm R)."""
    drawn: dict[str, list[Item]] = {}
    seen: dict[str, int] = {}
    generator = random.Random(seed)
    for item in items:
        kept, seen[item.language] = drawn.setdefault(item.language, []), seen.get(item.language, 0) + 1
        if len(kept) < SAMPLE:
            kept.append(item)
        elif (at := generator.randrange(seen[item.language])) < SAMPLE:
            kept[at] = item
    return drawn


class Trials:
    """What the model can be used for, tried on samples of questions and of records by language."""

    def __init__(self, embedder: Embedder, questions: Samples, records: Samples) -> None:
        self._embedder = embedder
        pooled = {language: [*questions.get(language, ()), *records.get(language, ())] for language in sorted({*questions, *records})}
        vectors = {language: embedder.encode([item.content for item in items]) for language, items in pooled.items()}
        self.within = {language: embedder.trial(shuffled(vectors[language]), language, language) for language in pooled}
        self.across = {(asked, known): self._across(vectors, asked, known) for asked, known in product(sorted(questions), sorted(records)) if asked != known}

    def allows(self, asked: str, known: str) -> bool:
        """Whether questions in `asked` are compared with records in `known`."""
        return (self.within[asked] if asked == known else self.across[asked, known]).used

    def _across(self, vectors: Mapping[str, Vectors], asked: str, known: str) -> EmbeddingTrial:
        cosines = vectors[asked] @ vectors[known].T
        trial = self._embedder.trial(cosines.ravel(), asked, known)
        return trial.model_copy(update={"used": trial.used and self.within[asked].used and self.within[known].used})


def shuffled(vectors: Vectors) -> NDArray[np.float32]:
    """The cosines of every two of the N texts of `vectors`: (N (N - 1) / 2,)."""
    cosines: NDArray[np.float32] = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    return cosines


class Meaning:
    """The questions' vectors, ready to be compared with batches of records."""

    def __init__(self, embedder: Embedder, trials: Trials, questions: Sequence[Item]) -> None:
        self._embedder, self._trials = embedder, trials
        self._numbers = {language: [number for number, item in enumerate(questions) if item.language == language] for language in trials.within}
        self._vectors = {
            language: embedder.encode([questions[number].content for number in numbers])
            for language, numbers in self._numbers.items()
            if self._wanted(language)
        }

    def _wanted(self, asked: str) -> bool:
        """Whether questions in this language are compared with any records."""
        return bool(self._numbers[asked]) and any(
            self._trials.allows(asked, known) for known in self._trials.within if known == asked or (asked, known) in self._trials.across
        )

    def compare(self, records: Sequence[Item], found: Sequence[Matches]) -> Iterator[tuple[str, list[int], Vectors]]:
        """Add to `found` what `records` resemble; gives language, rows and vectors (N, D) of those that were encoded."""
        for known in sorted({record.language for record in records}):
            if not self._used(known):
                continue
            rows = [row for row, record in enumerate(records) if record.language == known]
            vectors = self._embedder.encode([records[row].content for row in rows])
            for asked, questions in self._vectors.items():
                if self._trials.allows(asked, known):
                    self._keep(vectors @ questions.T, rows, self._numbers[asked], found)
            yield known, rows, vectors

    def _used(self, known: str) -> bool:
        """Whether a record in this language is compared with anything: with questions, or with earlier records."""
        return self._trials.within[known].used

    def _keep(self, cosines: NDArray[np.float32], rows: Sequence[int], numbers: Sequence[int], found: Sequence[Matches]) -> None:
        for row, question in np.argwhere(cosines > self._embedder.threshold).tolist():
            keep_better(found[rows[row]], numbers[question], Match(Detection.EMBEDDING, float(cosines[row, question])))
