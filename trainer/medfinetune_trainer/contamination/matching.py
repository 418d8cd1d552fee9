"""Matching: a batch of training records against all questions, exactly, normalised and by n-grams, as a whole and inside a longer text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from medfinetune_api.results_screening import Detection

from medfinetune_trainer.contamination.buckets import Buckets, Keys, bucket_keys
from medfinetune_trainer.contamination.containment import Containment, least_share, stands_in
from medfinetune_trainer.contamination.items import Item, Text
from medfinetune_trainer.contamination.ngrams import containment, jaccard
from medfinetune_trainer.contamination.texts import comparable

STRICTEST = tuple(Detection)


class Match(NamedTuple):
    """How a record resembles a question."""

    found_by: Detection
    similarity: float

    @property
    def order(self) -> tuple[int, float]:
        """Lower for a stricter method, and within one for what is closer."""
        return STRICTEST.index(self.found_by), -self.similarity


Matches = dict[int, Match]
"""Of one record: question -> how it resembles it."""


def keep_better(matches: Matches, question: int, match: Match) -> None:
    """Keep of a record and a question what the strictest method found."""
    known = matches.get(question)
    if known is None or match.order < known.order:
        matches[question] = match


class Questions:
    """All questions, ready to be looked up. `threshold`: Jaccard similarity from which n-grams count as the same."""

    def __init__(self, items: Sequence[Item], threshold: float) -> None:
        self.items, self._threshold, self._contained = items, threshold, least_share(threshold)
        texts = [(number, text) for number, item in enumerate(items) for text in item.texts]
        self._exact, self._normalised = _by(texts, "exact"), _by(texts, "normalised")
        self._long = [(number, text) for number, text in texts if text.shingles.size]
        self._buckets = Buckets(bucket_keys([text.shingles for _, text in self._long], threshold))
        self._searched = [(number, text) for number, text in texts if text.specific]
        self._containment = Containment([text for _, text in self._searched])

    def matches(self, records: Sequence[Item], keys: Keys) -> list[Matches]:
        """What each of `records` resembles; `keys` (N, B) are the buckets of their texts that have n-grams, in order."""
        found: list[Matches] = [{} for _ in records]
        for matches, record in zip(found, records, strict=True):
            for text in record.texts:
                self._keep_equal(matches, text)
        long = [(row, text) for row, record in enumerate(records) for text in record.texts if text.shingles.size]
        for at, entry in self._buckets.candidates(keys).tolist():
            (row, text), (question, asked) = long[at], self._long[entry]
            if comparable(text.kind, asked.kind) and (similarity := jaccard(text.shingles, asked.shingles)) >= self._threshold:
                keep_better(found[row], question, Match(Detection.NGRAM, similarity))
        self._keep_inside(found, [(row, text) for row, record in enumerate(records) for text in record.texts])
        return found

    def _keep_inside(self, found: Sequence[Matches], texts: Sequence[tuple[int, Text]]) -> None:
        for at, entry in self._containment.candidates([text for _, text in texts]):
            (row, text), (question, asked) = texts[at], self._searched[entry]
            if comparable(text.kind, asked.kind) and (match := self._held(asked, text)):
                keep_better(found[row], question, match)

    def _held(self, asked: Text, text: Text) -> Match | None:
        """How `text` holds `asked`, word for word or most of it; None where it does not."""
        if stands_in(asked, text):
            return Match(Detection.NORMALISED, 1.0)
        share = containment(asked.shingles, text.shingles)
        return Match(Detection.NGRAM, share) if share >= self._contained else None

    def _keep_equal(self, matches: Matches, text: Text) -> None:
        equals = ((Detection.EXACT, self._exact.get(text.exact, ())), (Detection.NORMALISED, self._normalised.get(text.normalised, ())))
        for method, entries in equals:
            for question, asked in entries:
                if comparable(text.kind, asked.kind):
                    keep_better(matches, question, Match(method, 1.0))


def _by(texts: Sequence[tuple[int, Text]], name: str) -> Mapping[int, list[tuple[int, Text]]]:
    found: dict[int, list[tuple[int, Text]]] = defaultdict(list)
    for number, text in texts:
        found[getattr(text, name)].append((number, text))
    return dict(found)


def keys_of(records: Sequence[Item], threshold: float) -> Keys:
    """Buckets of those texts of `records` that have n-grams, in order: (N, B)."""
    return bucket_keys([text.shingles for record in records for text in record.texts if text.shingles.size], threshold)


def first_rows(records: Sequence[Item]) -> Iterator[int]:
    """For each record the row of `keys_of` that stands for it, -1 where it has no n-grams."""
    row = 0
    for record in records:
        long = [text.shingles.size > 0 for text in record.texts]
        yield row if long[0] else -1
        row += int(np.count_nonzero(long))
