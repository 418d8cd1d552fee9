"""Findings: what was found so far, bounded by the number of questions and of records, not of pairs."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from medfinetune_api.results_screening import CLOSEST, Alike, FlaggedQuestion, SourceContamination, TaskContamination

from medfinetune_trainer.contamination.items import Item
from medfinetune_trainer.contamination.matching import STRICTEST, Match, Matches


@dataclass
class _Flag:
    """What one question resembles."""

    records: int = 0
    best: dict[int, Match] = field(default_factory=dict)
    """Source -> its closest record's match."""
    closest: list[tuple[tuple[float, ...], Alike]] = field(default_factory=list)
    """A heap whose first is the least close."""


class Findings:
    """Questions that resemble training records, and the records that they resemble."""

    def __init__(self, questions: Sequence[Item], sources: Sequence[str]) -> None:
        self._questions, self._sources = questions, sources
        self._flags: dict[int, _Flag] = defaultdict(_Flag)
        self.resembling: dict[int, set[int]] = {number: set() for number in range(len(sources))}
        """Source -> numbers of its records that a question resembles."""

    def add(self, record: Item, matches: Matches) -> None:
        """Count what `record` resembles."""
        if matches:
            self.resembling[record.group].add(record.number)
        for question, match in matches.items():
            flag = self._flags[question]
            flag.records += 1
            known = flag.best.get(record.group)
            if known is None or match.order < known.order:
                flag.best[record.group] = match
            self._keep_closest(flag, record, match)

    def _keep_closest(self, flag: _Flag, record: Item, match: Match) -> None:
        rank, distance = match.order
        entry = (-rank, -distance, -record.group, -record.number), self._alike(record, match)
        if len(flag.closest) < CLOSEST:
            heapq.heappush(flag.closest, entry)
        elif entry[0] > flag.closest[0][0]:
            heapq.heapreplace(flag.closest, entry)

    def _alike(self, record: Item, match: Match) -> Alike:
        similarity = min(1.0, max(0.0, round(match.similarity, 4)))
        return Alike(source=self._sources[record.group], record=record.where, found_by=match.found_by, similarity=similarity)

    def of_task(self, number: int, name: str, language: str) -> TaskContamination:
        """What was found of the task that is `number` in the plan."""
        asked = [question for question, item in enumerate(self._questions) if item.group == number]
        flagged = [question for question in asked if question in self._flags]
        return TaskContamination(
            task=name,
            language=language,
            questions=len(asked),
            contaminated=len(flagged),
            rate=len(flagged) / len(asked) if asked else 0.0,
            sources=tuple(self._by_source(flagged)),
            flagged=tuple(self._flagged(question) for question in flagged),
        )

    def _flagged(self, question: int) -> FlaggedQuestion:
        flag, item = self._flags[question], self._questions[question]
        strictest = min(flag.best.values(), key=lambda match: match.order).found_by
        alike = tuple(entry for _, entry in sorted(flag.closest, key=lambda entry: entry[0], reverse=True))
        return FlaggedQuestion(question=item.where, number=item.number, found_by=strictest, records=flag.records, alike=alike)

    def _by_source(self, flagged: Sequence[int]) -> Iterator[SourceContamination]:
        for source, name in enumerate(self._sources):
            found = [self._flags[question].best[source].found_by for question in flagged if source in self._flags[question].best]
            if found:
                exact, normalised, ngram, embedding = (found.count(method) for method in STRICTEST)
                yield SourceContamination(source=name, exact=exact, normalised=normalised, ngram=ngram, embedding=embedding)
