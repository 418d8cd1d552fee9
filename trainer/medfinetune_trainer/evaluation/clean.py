"""Accuracy without the questions that resemble training records, beside the accuracy with them (Med42, section on decontamination and appendix A.4).

Where the plan removes such questions from the evaluation they were not asked: then the figures with and without them are the same, and count those left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medfinetune_api.plan import RunPlan
from medfinetune_api.results_evaluation import Clean, EvaluationSummary, Score, TaskScores

from medfinetune_trainer.evaluation.answers import Answer, read_answers
from medfinetune_trainer.evaluation.questions import Questions
from medfinetune_trainer.evaluation.statistics import score


def with_clean(summary: EvaluationSummary, plan: RunPlan, questions: Mapping[str, Questions]) -> EvaluationSummary:
    """`summary` with `clean` of every task that was compared. Raises OutputConflict where a task's answers cannot be read."""
    return summary.model_copy(update={"tasks": tuple(_with_clean(scores, plan, questions[scores.task]) for scores in summary.tasks)})


def _with_clean(scores: TaskScores, plan: RunPlan, questions: Questions) -> TaskScores:
    if questions.alike is None:
        return scores
    tuned = read_answers(plan.folder, "tuned", scores.task)
    base = read_answers(plan.folder, "base", scores.task) if scores.base else []
    contaminated = questions.left_out + sum((answer.where, answer.question) in questions.alike for answer in tuned)
    clean = Clean(contaminated=contaminated, base=_score(base, questions), tuned=_score(tuned, questions))
    return scores.model_copy(update={"clean": clean})


def _score(answers: Sequence[Answer], questions: Questions) -> Score | None:
    left = [bool(answer.right) for answer in answers if (answer.where, answer.question) not in (questions.alike or ())]
    return score(left) if left else None
