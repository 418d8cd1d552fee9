"""What a gate looks at: which tasks, and what each of these measures."""

from __future__ import annotations

from medfinetune_api.choices import GateMetric, Scoring
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_evaluation import GatePlan, TaskPlan


def metrics_of(task: TaskPlan) -> list[GateMetric]:
    """What a gate can look at in a task."""
    if task.metrics:
        return [GateMetric(metric) for metric in task.metrics] + ([GateMetric.CODE_MIXING] if task.language.lower().split("-")[0] != "en" else [])
    return [GateMetric.ACCURACY] + ([GateMetric.CALIBRATION_ERROR] if task.scoring is Scoring.LETTER else [])


def tasks_of(plan: RunPlan, gate: GatePlan) -> list[TaskPlan]:
    """The task that the gate names, or the unseen ones of its language that measure its metric."""
    if gate.task is not None:
        return [task for task in plan.evaluation.tasks if task.name == gate.task]
    return [task for task in unseen(plan, gate.language) if gate.metric in metrics_of(task)]


def unseen(plan: RunPlan, language: str | None) -> list[TaskPlan]:
    """The tasks of a language whose questions are not trained on."""
    return [task for task in plan.evaluation.tasks if task.language == language and not task.seen]
