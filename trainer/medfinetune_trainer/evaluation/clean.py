"""Figures without the questions that resemble training records, beside those with them (Med42, section on decontamination and appendix A.4).

Where the plan removes such questions from the evaluation they were not asked: then the figures with and without them are the same, and count those left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medfinetune_api.plan import RunPlan
from medfinetune_api.results_evaluation import Clean, CleanText, EvaluationSummary, Score, TaskScores, TextScores

from medfinetune_trainer.evaluation.answers import Answer, read_answers
from medfinetune_trainer.evaluation.questions import Questions
from medfinetune_trainer.evaluation.statistics import score
from medfinetune_trainer.evaluation.text_results import means


@dataclass(frozen=True)
class _Left:
    """What is left of a task's answers."""

    contaminated: int
    base: list[Answer]
    tuned: list[Answer]


def with_clean(summary: EvaluationSummary, plan: RunPlan, questions: Mapping[str, Questions]) -> EvaluationSummary:
    """`summary` with `clean` of every task that was compared. Raises OutputConflict where a task's answers cannot be read."""
    tasks = tuple(_exam(scores, _left(plan, scores, questions[scores.task])) for scores in summary.tasks)
    texts = tuple(_text(scores, _left(plan, scores, questions[scores.task]), plan.training.seed) for scores in summary.texts)
    return summary.model_copy(update={"tasks": tasks, "texts": texts})


def _left(plan: RunPlan, scores: TaskScores | TextScores, questions: Questions) -> _Left | None:
    """None where nothing was compared."""
    if questions.alike is None:
        return None
    base, tuned = (read_answers(plan.folder, variant, scores.task) if asked else [] for variant, asked in (("base", scores.base), ("tuned", True)))
    left = [[answer for answer in answers if (answer.where, answer.question) not in questions.alike] for answers in (base, tuned)]
    return _Left(questions.left_out + len(tuned) - len(left[1]), *left)


def _exam(scores: TaskScores, left: _Left | None) -> TaskScores:
    clean = left and Clean(contaminated=left.contaminated, base=_score(left.base), tuned=_score(left.tuned))
    return scores.model_copy(update={"clean": clean})


def _text(scores: TextScores, left: _Left | None, seed: int) -> TextScores:
    measured = [means(scores.tuned, answers, seed) for answers in (left.base, left.tuned)] if left else []
    clean = left and CleanText(contaminated=left.contaminated, base=measured[0], tuned=measured[1])
    return scores.model_copy(update={"clean": clean})


def _score(answers: Sequence[Answer]) -> Score | None:
    return score(bool(answer.right) for answer in answers) if answers else None
