"""An evaluation file that is a training file under another name measures memory: it is refused by its content, before anything is trained.

Two files are the same where their lines are, whatever format reads them, or where what their formats read is, whatever the lines look like: a copy with other
order, compression, line ends, order of names, escapes or quotes, or in another of the format's file types.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from medfinetune_api.errors import InvalidData
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_data import SourcePlan
from medfinetune_api.plan_evaluation import TaskPlan

from medfinetune_trainer.data.formats.registry import read_source
from medfinetune_trainer.data.formats.rows import parquet_rows
from medfinetune_trainer.data.reading import DataFile, text_lines
from medfinetune_trainer.data.records import Record
from medfinetune_trainer.data.volume import inside

_Digest = tuple[int, int]
"""How many texts, and the sum of their hashes: the same in any order."""


def refuse_trained_on(plan: RunPlan) -> None:
    """Raises InvalidData where a task that is not `seen` holds what a training source holds, and as `read_source`.

    Streams the tasks' files, and of the sources' no more than the longest task holds: a source that goes on is another file.
    """
    for read in (_lines, _records):
        tasks = {number: _digest(read(plan, task, "spec.evaluation.tasks")) for number, task in enumerate(plan.evaluation.tasks) if not task.seen}
        longest = max((count for count, _ in tasks.values()), default=-1)
        trained = {_digest(islice(read(plan, source, "spec.data.sources"), longest + 1)): source.name for source in plan.data.sources}
        for number, digest in tasks.items():
            if digest in trained:
                raise _trained_on(number, trained[digest])


def _trained_on(number: int, source: str) -> InvalidData:
    return InvalidData(
        f"spec.evaluation.tasks[{number}].path",
        found=f"the lines of source {source}, which is trained on",
        expected="questions that were not trained on",
        remedy="Evaluate on another file, or say seen: true: then they show only that training took.",
    )


def _lines(plan: RunPlan, entry: SourcePlan | TaskPlan, listed: str) -> Iterator[str]:
    """The file's lines, without their ends; rows, where it is Parquet."""
    file = DataFile(inside(Path(plan.mounts.data), entry.path, f"{listed}[name={entry.name}].path"), entry.path)
    if file.suffix == ".parquet":
        return (json.dumps(values, sort_keys=True, default=str) for _, values in parquet_rows(file))
    return (line for _, text in text_lines(file) if (line := text.strip()))


def _records(plan: RunPlan, entry: SourcePlan | TaskPlan, listed: str) -> Iterator[str]:
    return (_content(record) for record in read_source(entry, Path(plan.mounts.data), listed))


def _content(record: Record) -> str:
    """What is learned from or asked by a record, without where it stands and what the manifest calls it."""
    turns = [(message.role, message.content) for message in record.messages]
    return json.dumps([turns, record.question, record.options, record.choices, record.right])


def _digest(texts: Iterable[str]) -> _Digest:
    count = total = 0
    for text in texts:
        count, total = count + 1, total + int.from_bytes(hashlib.sha256(text.encode()).digest())
    return count, total % (1 << 256)
