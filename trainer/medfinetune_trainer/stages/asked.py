"""What evaluate and its ranks look up: the questions of the plan, and what was trained to answer them."""

from __future__ import annotations

from pathlib import Path

from medfinetune_api.errors import InvalidData, OutputConflict
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import Prepared

from medfinetune_trainer.contamination.record import asks_contaminated, contaminated
from medfinetune_trainer.evaluation.questions import Questions, file_sha256, read_questions


def questions_of(plan: RunPlan) -> dict[str, Questions]:
    """The questions of every task that are asked, by its name. Raises InvalidData; OutputConflict where prepare's comparison with the records is missing."""
    alike, ask_alike, mount, seed = contaminated(plan), asks_contaminated(plan), Path(plan.mounts.data), plan.training.seed
    return {task.name: read_questions(task, mount, seed, alike.get(task.name), ask_alike) for task in plan.evaluation.tasks}


def require_tasks(plan: RunPlan, prepared: Prepared) -> None:
    """Raises InvalidData where a task's file is not the one that prepare compared with the training records, or cannot be read."""
    for task in plan.evaluation.tasks:
        found = file_sha256(task, Path(plan.mounts.data))
        if found != prepared.tasks_sha256.get(task.name):
            remedy = "Put that file back; to ask others, start a run that names them: its prepare compares them with the training records."
            expected = "the file that prepare compared with the training records"
            raise InvalidData(f"spec.evaluation.tasks[name={task.name}].path", found=f"another file, of SHA-256 {found[:12]}", expected=expected, remedy=remedy)


def trained_folder(plan: RunPlan) -> Path:
    """What was trained, released, in quarantine, or neither yet. Raises OutputConflict where there is nothing."""
    for folder in (plan.folder.released(plan.tuning.method), plan.folder.quarantine, plan.folder.final):
        if folder.exists():
            return folder
    raise OutputConflict(str(plan.folder.final), found="no such folder", expected="train complete", remedy="Run the stage train of this plan first.")
