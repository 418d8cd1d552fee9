"""Gates, and plans and summaries to hold them against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medfinetune_api.choices import DecidedBy, GateMetric
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_evaluation import GatePlan
from medfinetune_api.results_evaluation import EvaluationSummary, TaskScores
from medfinetune_trainer.evaluation.comparison import compare
from medfinetune_trainer.evaluation.statistics import score


def gate(**fields: Any) -> GatePlan:
    """Accuracy, by Interval; scope and bound are the caller's."""
    return GatePlan(**({"name": "gate", "metric": GateMetric.ACCURACY, "decided_by": DecidedBy.INTERVAL} | fields))


def gated(plan: RunPlan, *gates: GatePlan) -> RunPlan:
    """The plan with these gates."""
    return plan.model_copy(update={"evaluation": plan.evaluation.model_copy(update={"gates": gates})})


def exam(base: Sequence[bool], tuned: Sequence[bool], subjects: Mapping[str, Sequence[bool]] | None = None, task: str = "exam") -> TaskScores:
    """Scores of one examination, from right and wrong answers of both models to the same questions."""
    return TaskScores(
        task=task,
        language="en",
        version="1.0",
        questions=len(tuned),
        available=len(tuned),
        seen=False,
        base=score(base),
        tuned=score(tuned),
        base_by_subject={},
        tuned_by_subject={subject: score(answers) for subject, answers in (subjects or {}).items()},
        comparison=compare(base, tuned),
    )


def summary(*exams: TaskScores, **fields: Any) -> EvaluationSummary:
    """A summary of examinations in English."""
    return EvaluationSummary(**({"plan_sha256": "0" * 64, "tasks": exams, "base_by_language": {}, "tuned_by_language": {}} | fields))
