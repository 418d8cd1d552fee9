"""Compare: every training source with every evaluation task that is not `seen`, and the training records among themselves.

The questions are held as hashes and n-grams; the training files are streamed past them once (twice with an embedding model, which is tried on a sample first).
Memory grows with the questions, and by a few bytes with each training record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from medfinetune_api.plan import RunPlan
from medfinetune_api.results_screening import Detection, EmbeddingTrial

from medfinetune_trainer.artifacts import fence
from medfinetune_trainer.contamination.embeddings import Embedder
from medfinetune_trainer.contamination.findings import Findings
from medfinetune_trainer.contamination.items import Item, batches, questions_in, records_in
from medfinetune_trainer.contamination.matching import Questions, keys_of
from medfinetune_trainer.contamination.meaning import Meaning, Trials, sample
from medfinetune_trainer.contamination.repeats import Pairs, Repeats

BATCH = 512
"""Training records that are looked up at once."""


@dataclass(frozen=True)
class Compared:
    """What comparing found."""

    findings: Findings
    repeats: Pairs
    records: tuple[int, ...]
    """Training records compared, by source."""
    within: Mapping[str, EmbeddingTrial]
    """Of the embedding model, by language; empty without one."""
    across: Mapping[tuple[str, str], EmbeddingTrial]
    """Likewise, by language of the questions and of the records."""


def compare(plan: RunPlan, scratch: Path) -> Compared:
    """Compare what the plan asks to; `scratch` is a folder for what does not fit memory.

    Raises:
        InvalidData: a file cannot be read as its format. InvalidModel: the embedding model cannot be used.
    """
    embedding, threshold = plan.data.decontamination.embedding, plan.data.decontamination.ngram_threshold
    questions = list(_questions(plan))
    lookup = Questions(questions, threshold)
    findings = Findings(questions, [source.name for source in plan.data.sources])
    embedder = Embedder(plan, embedding) if embedding else None
    trials = Trials(embedder, sample(questions, plan.training.seed), sample(_records(plan), plan.training.seed)) if embedder else None
    meaning = Meaning(embedder, trials, questions) if embedder and trials else None
    with TemporaryDirectory(prefix="compared-", dir=scratch) as folder:
        repeats = Repeats(Path(folder), threshold)
        for records in batches(_records(plan), BATCH):
            fence.check()
            _take(records, lookup, meaning, repeats, findings, threshold)
        pairs = repeats.count(embedding.similarity_threshold if embedding else 1.0)
    return Compared(findings, pairs, repeats.by_source(len(plan.data.sources)), trials.within if trials else {}, trials.across if trials else {})


def _take(records: Sequence[Item], lookup: Questions, meaning: Meaning | None, repeats: Repeats, findings: Findings, threshold: float) -> None:
    """Look one batch up among the questions, and keep what later records are compared with."""
    keys, first = keys_of(records, threshold), len(repeats)
    found = lookup.matches(records, keys)
    repeats.add(records, keys)
    if meaning:
        for language, rows, vectors in meaning.compare(records, found):
            repeats.add_vectors(language, [first + row for row in rows], vectors)
    for record, matches in zip(records, found, strict=True):
        findings.add(record, matches)


def _questions(plan: RunPlan) -> Iterator[Item]:
    for number, task in enumerate(plan.evaluation.tasks):
        if not task.seen:
            yield from questions_in(number, task, Path(plan.mounts.data), plan.data.decontamination.embedding is not None)


def _records(plan: RunPlan) -> Iterator[Item]:
    for number, source in enumerate(plan.data.sources):
        yield from records_in(number, source, Path(plan.mounts.data), plan.data.decontamination.embedding is not None)


def repeats_of(pairs: Pairs, later: int, earlier: int) -> list[int]:
    """Records of source `later` that repeat one of source `earlier`, by method, the strictest first."""
    return [pairs[later, earlier, method] for method in Detection]
