"""Figures without the questions that resemble training records, beside those with them (Med42, section on decontamination and appendix A.4).

Where the plan removes such questions from the evaluation, the headline is without them; they are asked apart, for the figures before removal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medfinetune_api.plan import RunPlan
from medfinetune_api.results_evaluation import Clean, CleanText, EvaluationSummary, Score, TaskScores, TextScores

from medfinetune_trainer.evaluation import results
from medfinetune_trainer.evaluation.answers import Answer, read_answers
from medfinetune_trainer.evaluation.names import name_of_removed
from medfinetune_trainer.evaluation.questions import Questions
from medfinetune_trainer.evaluation.statistics import score
from medfinetune_trainer.evaluation.summary import staying
from medfinetune_trainer.evaluation.text_results import means


@dataclass(frozen=True)
class _Parted:
    """A task's answers."""

    contaminated: int
    base: list[Answer]
    """Without the questions that resemble training records."""
    tuned: list[Answer]
    before_base: list[Answer]
    """With those that were removed; empty where none were."""
    before_tuned: list[Answer]


def with_clean(summary: EvaluationSummary, plan: RunPlan, questions: Mapping[str, Questions]) -> EvaluationSummary:
    """`summary` with `clean` of every task that was compared. Raises OutputConflict where a task's answers cannot be read."""
    tasks = tuple(_exam(scores, _parted(plan, scores, questions[scores.task])) for scores in summary.tasks)
    texts = tuple(_text(scores, _parted(plan, scores, questions[scores.task]), plan.training.seed) for scores in summary.texts)
    return summary.model_copy(update={"tasks": tasks, "texts": texts})


def _parted(plan: RunPlan, scores: TaskScores | TextScores, questions: Questions) -> _Parted | None:
    """None where nothing was compared."""
    if questions.alike is None:
        return None
    variants = [("base", bool(scores.base)), ("tuned", True)]
    base, tuned = (read_answers(plan.folder, variant, scores.task) if asked else [] for variant, asked in variants)
    left = [[answer for answer in answers if (answer.where, answer.question) not in questions.alike] for answers in (base, tuned)]
    removed = [_removed(plan, variant, scores.task) if asked and questions.removed else [] for variant, asked in variants]
    before = [answers + apart if apart else [] for answers, apart in zip((base, tuned), removed, strict=True)]
    return _Parted(questions.left_out + len(tuned) - len(left[1]), *left, *before)


def _removed(plan: RunPlan, variant: str, task: str) -> list[Answer]:
    """What was answered to the questions that are in no result."""
    (named,) = (each for each in plan.evaluation.tasks if each.name == task)
    return [staying(named, sample) for sample in results.samples(plan.folder.evaluation, variant, name_of_removed(task))]


def _exam(scores: TaskScores, parted: _Parted | None) -> TaskScores:
    clean = parted and Clean(
        contaminated=parted.contaminated,
        base=_score(parted.base),
        tuned=_score(parted.tuned),
        before_base=_score(parted.before_base),
        before_tuned=_score(parted.before_tuned),
    )
    return scores.model_copy(update={"clean": clean})


def _text(scores: TextScores, parted: _Parted | None, seed: int) -> TextScores:
    answers = (parted.base, parted.tuned, parted.before_base, parted.before_tuned) if parted else ()
    measured = [means(scores.tuned, each, seed) for each in answers]
    clean = parted and CleanText(contaminated=parted.contaminated, base=measured[0], tuned=measured[1], before_base=measured[2], before_tuned=measured[3])
    return scores.model_copy(update={"clean": clean})


def _score(answers: Sequence[Answer]) -> Score | None:
    return score(bool(answer.right) for answer in answers) if answers else None
