"""What each task of the plan is to the harness, by how it is answered, and what its results say in a line of the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medfinetune_api.choices import Scoring, TextMetric
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_evaluation import TaskPlan

from medfinetune_trainer.data.records import Record
from medfinetune_trainer.evaluation.entities import Entities
from medfinetune_trainer.evaluation.exams import exam_tasks
from medfinetune_trainer.evaluation.glossary import Glossary, glossary_of
from medfinetune_trainer.evaluation.harness import ExamTask
from medfinetune_trainer.evaluation.letters_written import LetterTask
from medfinetune_trainer.evaluation.names import name_of_removed
from medfinetune_trainer.evaluation.questions import Questions, prompt_template
from medfinetune_trainer.evaluation.text_metrics import TextMeasures
from medfinetune_trainer.evaluation.text_task import TextTask

_HEADLINES = {"acc": "accuracy", "exact_match": "accuracy", **{str(metric): str(metric) for metric in TextMetric}}


def tasks_of(plan: RunPlan, task: TaskPlan, asked: Sequence[Record]) -> list[ExamTask]:
    """The harness's tasks that `task` becomes, asking the questions `asked`. Raises InvalidData (a glossary)."""
    if task.metrics:
        entities = Entities(glossary_of(plan, task.language) or Glossary())
        return [TextTask(task, asked, TextMeasures(task.metrics, task.language, entities))]
    if task.scoring is Scoring.GENERATION:
        prompt = prompt_template(task, max(len(record.choices) for record in asked))
        return [LetterTask(task.name, asked, prompt, task.language, task.max_new_tokens)]
    return exam_tasks(task, asked, plan.training.seed)


def asked_of(plan: RunPlan, task: TaskPlan, questions: Questions) -> list[ExamTask]:
    """As `tasks_of`, with one more for the questions that are removed from the result. Raises InvalidData (a glossary)."""
    apart = task.model_copy(update={"name": name_of_removed(task.name), "option_orders": 1})
    return [*tasks_of(plan, task, questions.asked), *(tasks_of(plan, apart, questions.removed) if questions.removed else ())]


def headlines(results: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """`accuracy_<task>`, `F1_<task>`, ... of the harness's `results`."""
    found = {(name, key.partition(",")[0]): value for name, metrics in results.items() for key, value in metrics.items()}
    return {f"{_HEADLINES[metric]}_{name}": value for (name, metric), value in found.items() if metric in _HEADLINES}
