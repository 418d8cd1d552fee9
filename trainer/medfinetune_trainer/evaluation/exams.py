"""From the questions of a task of the plan to the tasks that the harness is given: the file's order, and one more for all other orders of the options."""

from __future__ import annotations

from collections.abc import Sequence

from medfinetune_api.plan_evaluation import TaskPlan

from medfinetune_trainer.data.records import Record
from medfinetune_trainer.evaluation.harness import ExamTask
from medfinetune_trainer.evaluation.names import name_in_orders
from medfinetune_trainer.evaluation.orders import in_other_orders
from medfinetune_trainer.evaluation.questions import prompt_template


def exam_tasks(task: TaskPlan, asked: Sequence[Record], seed: int) -> list[ExamTask]:
    """The harness's tasks, named as `task_names` has them; `seed` draws the orders."""
    prompt = prompt_template(task, max(len(record.choices) for record in asked))
    exams = [ExamTask(task.name, asked, prompt)]
    if task.option_orders > 1:
        records, orders = in_other_orders(asked, task.option_orders, seed)
        exams.append(ExamTask(name_in_orders(task.name), records, prompt, orders))
    return exams
