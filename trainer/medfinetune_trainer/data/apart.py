"""An evaluation file that is a training file under another name measures memory: it is refused by its content, before anything is trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from medfinetune_api.errors import InvalidData
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_data import SourcePlan
from medfinetune_api.plan_evaluation import TaskPlan

from medfinetune_trainer.data.formats.rows import parquet_rows
from medfinetune_trainer.data.reading import DataFile, text_lines
from medfinetune_trainer.data.volume import inside


def refuse_trained_on(plan: RunPlan) -> None:
    """Raises InvalidData where a task that is not `seen` holds the lines of a training source, and as `text_lines`. Reads both kinds of files once."""
    tasks = {number: task for number, task in enumerate(plan.evaluation.tasks) if not task.seen}
    if not tasks:
        return
    trained = {_content(plan, source, "spec.data.sources"): source.name for source in plan.data.sources}
    for number, task in tasks.items():
        source = trained.get(_content(plan, task, "spec.evaluation.tasks"))
        if source is not None:
            raise InvalidData(
                f"spec.evaluation.tasks[{number}].path",
                found=f"the lines of source {source}, which is trained on",
                expected="questions that were not trained on",
                remedy="Evaluate on another file, or say seen: true: then they show only that training took.",
            )


def _content(plan: RunPlan, entry: SourcePlan | TaskPlan, listed: str) -> str:
    """A hash of the lines that hold something, whatever their order: a shuffled, compressed or re-saved copy is the same file."""
    file = DataFile(inside(Path(plan.mounts.data), entry.path, f"{listed}[name={entry.name}].path"), entry.path)
    if file.suffix == ".parquet":
        return _digest(json.dumps(values, sort_keys=True, default=str) for _, values in parquet_rows(file))
    return _digest(line.strip() for _, line in text_lines(file))


def _digest(lines: Iterable[str]) -> str:
    total = sum(int.from_bytes(hashlib.sha256(line.encode()).digest()) for line in lines if line)
    return f"{total % (1 << 256):064x}"
