"""Names of the harness's tasks that a task of the plan becomes."""

from __future__ import annotations

from medfinetune_api.plan_evaluation import TaskPlan


def task_names(task: TaskPlan) -> list[str]:
    """Of the file's order, and where the plan asks for more of all others together."""
    return [task.name] if task.option_orders == 1 else [task.name, name_in_orders(task.name)]


def name_in_orders(task: str) -> str:
    """Under which name the harness asks the other orders of `task`: no task of a manifest has a dot."""
    return f"{task}.orders"


def name_of_removed(task: str) -> str:
    """Under which name the harness asks the questions of `task` that are removed from its result: no task of a manifest has a dot."""
    return f"{task}.removed"
