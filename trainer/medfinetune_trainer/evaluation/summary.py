"""The summary of an evaluation, from its files: every task's scores, what they are worth, and what changed.

Of the samples, which hold questions and are purged, the answers are kept first (`answers`); all that is said here of examinations is said of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from medfinetune_api.choices import Scoring
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_evaluation import TaskPlan
from medfinetune_api.results_calibration import Abstention, Calibration
from medfinetune_api.results_evaluation import EvaluationSummary, Orders, Score, TaskScores

from medfinetune_trainer.evaluation import results
from medfinetune_trainer.evaluation.answers import Answer, once, write_answers
from medfinetune_trainer.evaluation.calibration import abstention, calibration, confidence
from medfinetune_trainer.evaluation.comparison import compare, corrected
from medfinetune_trainer.evaluation.forgetting import changes
from medfinetune_trainer.evaluation.groups import compare_by_group, score_by_group
from medfinetune_trainer.evaluation.names import name_in_orders
from medfinetune_trainer.evaluation.orders import orders_summary
from medfinetune_trainer.evaluation.statistics import score, score_by
from medfinetune_trainer.evaluation.text_results import letter_answer, text_answer, text_scores

ByTask = Mapping[str, Sequence[Answer]]


@dataclass(frozen=True)
class Answers:
    """What was answered, by task."""

    base: ByTask
    """Empty without a baseline."""
    tuned: ByTask

    def of(self, task: str) -> tuple[Sequence[Answer], Sequence[Answer]]:
        """Base's, none without a baseline, and tuned model's answers to `task`."""
        return self.base.get(task, ()), self.tuned[task]


def summarise(plan: RunPlan, available: Mapping[str, int]) -> EvaluationSummary:
    """The summary of a complete evaluation; its answers are written beside it. Raises StorageFailed; OutputConflict as `fence.check`.

    Args:
        plan: whose folder holds the samples.
        available: questions in each task's file, by task name.
    """
    exams, texts = ([task for task in plan.evaluation.tasks if bool(task.metrics) is measured] for measured in (False, True))
    answers = Answers(_kept(plan, "base") if plan.evaluation.baseline else {}, _kept(plan, "tuned"))
    pairs = {task.name: list(zip(*answers.of(task.name), strict=True)) for task in plan.evaluation.tasks} if plan.evaluation.baseline else {}
    return _corrected(
        EvaluationSummary(
            plan_sha256=plan.sha256,
            tasks=tuple(_task_scores(plan, task, answers, available[task.name]) for task in exams),
            texts=tuple(text_scores(plan, task, *answers.of(task.name), available[task.name]) for task in texts),
            base_by_language=_by_language(exams, answers.base),
            tuned_by_language=_by_language(exams, answers.tuned),
            changes=changes(plan.evaluation.tasks, pairs, plan.evaluation.forgetting_threshold, plan.training.seed) if pairs else (),
        )
    )


def _kept(plan: RunPlan, variant: str) -> ByTask:
    """The answers of one variant, written down."""
    folder, tasks = plan.folder.evaluation, plan.evaluation.tasks
    found = {task.name: [staying(task, sample) for sample in results.samples(folder, variant, task.name)] for task in tasks}
    for task, answers in found.items():
        write_answers(plan.folder, variant, task, answers)
    return found


def staying(task: TaskPlan, sample: Mapping[str, Any]) -> Answer:
    """What stays of a sample, by how it was answered."""
    if task.metrics:
        return text_answer(sample)
    return letter_answer(sample) if task.scoring is Scoring.GENERATION else _answer(sample)


def _answer(sample: Mapping[str, Any]) -> Answer:
    """What stays of a sample whose letters were scored by likelihood."""
    doc, likelihoods = sample["doc"], [float(likelihood) for likelihood, _ in sample["filtered_resps"]]
    return Answer(
        where=doc["where"],
        question=sha256(doc["prompt"].encode()).hexdigest(),
        subject=doc["subject"],
        groups=tuple(doc["groups"]),
        right=sample["acc"] == 1.0,
        chosen=likelihoods.index(max(likelihoods)),
        confidence=confidence(likelihoods),
    )


def _task_scores(plan: RunPlan, task: TaskPlan, answers: Answers, available: int) -> TaskScores:
    base, tuned = answers.of(task.name)
    return TaskScores(
        task=task.name,
        language=task.language,
        seen=task.seen,
        version=results.version(plan.folder.evaluation, task.name),
        questions=len(tuned),
        available=available,
        base=score(_right(base)) if base else None,
        tuned=score(_right(tuned)),
        base_by_subject=_by_subject(base),
        tuned_by_subject=_by_subject(tuned),
        base_by_group=_by_group(base),
        tuned_by_group=_by_group(tuned),
        comparison_by_group=compare_by_group(list(zip(base, tuned, strict=True)) if base else [], plan.training.seed),
        comparison=compare(_right(base), _right(tuned), plan.training.seed) if base else None,
        base_calibration=_calibration(base, plan.training.seed),
        tuned_calibration=_calibration(tuned, plan.training.seed),
        abstention=_abstention(tuned),
        base_orders=_orders(plan, "base", task) if base else None,
        tuned_orders=_orders(plan, "tuned", task),
    )


def _corrected(summary: EvaluationSummary) -> EvaluationSummary:
    """Every comparison of a task, with its p corrected over all tasks: examinations, and each measurement of answers in words."""
    exams = {(task.task, ""): task.comparison for task in summary.tasks if task.comparison}
    measured = {(text.task, metric): one for text in summary.texts for metric, one in text.comparisons.items()}
    family = corrected(exams | measured)
    tasks = tuple(task.model_copy(update={"comparison": family.get((task.task, ""))}) for task in summary.tasks)
    texts = tuple(text.model_copy(update={"comparisons": {metric: family[text.task, metric] for metric in text.comparisons}}) for text in summary.texts)
    return summary.model_copy(update={"tasks": tasks, "texts": texts})


def _right(answers: Sequence[Answer]) -> list[bool]:
    return [bool(answer.right) for answer in answers]


def _calibration(answers: Sequence[Answer], seed: int) -> Calibration | None:
    sure = _sure(answers)
    return calibration([confident for confident, _ in sure], [right for _, right in sure], seed) if sure else None


def _abstention(answers: Sequence[Answer]) -> Abstention:
    sure = _sure(answers)
    return abstention([confident for confident, _ in sure], [right for _, right in sure])


def _sure(answers: Sequence[Answer]) -> list[tuple[float, bool]]:
    return [(answer.confidence, bool(answer.right)) for answer in answers if answer.confidence is not None]


def _by_subject(answers: Sequence[Answer]) -> Mapping[str, Score]:
    """Questions whose file names no subject are in no subject's score."""
    return score_by((answer.subject, bool(answer.right)) for answer in answers if answer.subject)


def _by_group(answers: Sequence[Answer]) -> Mapping[str, Score]:
    return score_by_group((answer.groups, bool(answer.right)) for answer in answers)


def _orders(plan: RunPlan, variant: str, task: TaskPlan) -> Orders | None:
    """Of one variant, where the plan asks for more orders than the file's."""
    if task.option_orders == 1:
        return None
    in_file, in_others = (results.samples(plan.folder.evaluation, variant, name) for name in (task.name, name_in_orders(task.name)))
    return orders_summary(task.option_orders, in_file, in_others)


def _by_language(tasks: Sequence[TaskPlan], answers: ByTask) -> Mapping[str, Score]:
    """Every question of a language counts once, as the first task that asks it; those that were trained on count in none."""
    unseen = [task for task in tasks if not task.seen and answers.get(task.name)]
    languages = {task.language: [answers[other.name] for other in unseen if other.language == task.language] for task in unseen}
    return score_by((language, bool(answer.right)) for language, found in languages.items() for answer in once(found, lambda answer: answer.question))
