"""What fine-tuning changed in every language, task and subject: where it gained, and what it forgot.

The study measures it as accuracy by domain and language before and after (Yoo et al. 2026, section on domain-specific shifts); a lecture on fine-tuning asks
to stop where more than 5 % is lost. Here every row has its interval and its p value, corrected over all rows: of a hundred subjects five would else be beyond
the noise by chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from medfinetune_api.choices import GateMetric, TextMetric
from medfinetune_api.plan_evaluation import TaskPlan
from medfinetune_api.results_evaluation import Change, Comparison, Mean, Score

from medfinetune_trainer.evaluation.answers import Answer, once
from medfinetune_trainer.evaluation.comparison import compare, compare_means, corrected, mean
from medfinetune_trainer.evaluation.statistics import score

Pairs = Sequence[tuple[Answer, Answer]]
"""Base and tuned on the same questions."""


@dataclass(frozen=True)
class Part:
    """Some of the questions: a language's, a task's or a subject's."""

    task: str | None
    language: str
    subject: str | None
    seen: bool
    pairs: Pairs


def changes(tasks: Iterable[TaskPlan], answered: Mapping[str, Pairs], threshold: float, seed: int) -> tuple[Change, ...]:
    """Every language over its unseen tasks, every task, and every subject of a task that names several: in accuracy, then by each measure of answers in words.

    Args:
        tasks: of the plan.
        answered: base's and tuned model's answers to each, by its name.
        threshold: loss beyond which a part counts as forgotten, 0 to 1.
        seed: of the intervals.
    """
    parts = list(_measured_parts(list(tasks), answered))
    compared = corrected({number: _compared(metric, part.pairs, seed) for number, (metric, part) in enumerate(parts)})
    return tuple(
        Change(
            task=part.task,
            language=part.language,
            subject=part.subject,
            seen=part.seen,
            metric=metric,
            before=_figure(metric, [base for base, _ in part.pairs], seed),
            after=_figure(metric, [tuned for _, tuned in part.pairs], seed),
            comparison=compared[number],
            forgotten=-compared[number].difference > threshold,
        )
        for number, (metric, part) in enumerate(parts)
    )


def _measured_parts(tasks: Sequence[TaskPlan], answered: Mapping[str, Pairs]) -> Iterator[tuple[GateMetric, Part]]:
    """Every part with what it is measured by. A question whose reference has no entity is in no part of EntityF1."""
    exams = [task for task in tasks if not task.metrics]
    yield from ((GateMetric.ACCURACY, part) for part in _parts(exams, answered))
    for metric in TextMetric:
        texts = [task for task in tasks if metric in task.metrics]
        pairs = {task.name: [pair for pair in answered[task.name] if all(metric in each.measured for each in pair)] for task in texts}
        yield from ((GateMetric(metric), part) for part in _parts(texts, pairs))


def _parts(tasks: Sequence[TaskPlan], answered: Mapping[str, Pairs]) -> Iterator[Part]:
    unseen = [task for task in tasks if not task.seen and answered[task.name]]
    for language in sorted({task.language for task in unseen}):
        asked = once((answered[task.name] for task in unseen if task.language == language), lambda pair: pair[1].question)
        yield Part(None, language, None, False, asked)
    for task in tasks:
        pairs = answered[task.name]
        if pairs:
            yield Part(task.name, task.language, None, task.seen, pairs)
        subjects = _by_subject(pairs)
        for subject in sorted(subjects) if len(subjects) > 1 else ():
            yield Part(task.name, task.language, subject, task.seen, subjects[subject])


def _by_subject(pairs: Pairs) -> dict[str, list[tuple[Answer, Answer]]]:
    """Questions whose file names no subject are in none."""
    found: dict[str, list[tuple[Answer, Answer]]] = {}
    for pair in pairs:
        if pair[1].subject:
            found.setdefault(pair[1].subject, []).append(pair)
    return found


def _compared(metric: GateMetric, pairs: Pairs, seed: int) -> Comparison:
    if metric is GateMetric.ACCURACY:
        return compare([bool(base.right) for base, _ in pairs], [bool(tuned.right) for _, tuned in pairs], seed)
    return compare_means([base.measured[metric] for base, _ in pairs], [tuned.measured[metric] for _, tuned in pairs], seed)


def _figure(metric: GateMetric, answers: Iterable[Answer], seed: int) -> Score | Mean:
    if metric is GateMetric.ACCURACY:
        return score(bool(answer.right) for answer in answers)
    return mean([answer.measured[metric] for answer in answers], seed)
