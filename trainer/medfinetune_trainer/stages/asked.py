"""What evaluate and its ranks look up: the questions of the plan, and what was trained to answer them."""

from __future__ import annotations

from pathlib import Path

from medfinetune_api.errors import OutputConflict
from medfinetune_api.plan import RunPlan

from medfinetune_trainer.contamination.record import asks_contaminated, contaminated
from medfinetune_trainer.evaluation.questions import Questions, read_questions


def questions_of(plan: RunPlan) -> dict[str, Questions]:
    """The questions of every task that are asked, by its name. Raises InvalidData; OutputConflict where prepare's comparison with the records is missing."""
    alike, ask_alike, mount, seed = contaminated(plan), asks_contaminated(plan), Path(plan.mounts.data), plan.training.seed
    return {task.name: read_questions(task, mount, seed, alike.get(task.name), ask_alike) for task in plan.evaluation.tasks}


def trained_folder(plan: RunPlan) -> Path:
    """What was trained, released, in quarantine, or neither yet. Raises OutputConflict where there is nothing."""
    for folder in (plan.folder.released(plan.tuning.method), plan.folder.quarantine, plan.folder.final):
        if folder.exists():
            return folder
    raise OutputConflict(str(plan.folder.final), found="no such folder", expected="train complete", remedy="Run the stage train of this plan first.")
