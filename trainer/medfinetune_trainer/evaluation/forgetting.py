"""What fine-tuning changed in every language, task and subject: where it gained, and what it forgot.

The study measures it as accuracy by domain and language before and after (Yoo et al. 2026, section on domain-specific shifts); a lecture on fine-tuning asks
to stop where more than 5 % is lost. Here every row has its interval and its p value, corrected over all rows: of a hundred subjects five would else be beyond
the noise by chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from medfinetune_api.plan_evaluation import TaskPlan
from medfinetune_api.results_evaluation import Change

from medfinetune_trainer.evaluation.answers import Answer
from medfinetune_trainer.evaluation.comparison import compare, corrected
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
    """Every language over its unseen tasks, every task, and every subject of a task that names several.

    Args:
        tasks: examinations of the plan.
        answered: base's and tuned model's answers to each, by its name.
        threshold: loss of accuracy beyond which a part counts as forgotten.
        seed: of the intervals.
    """
    parts = list(_parts(list(tasks), answered))
    compared = corrected({number: compare(*_outcomes(part.pairs), seed) for number, part in enumerate(parts)})
    return tuple(
        Change(
            task=part.task,
            language=part.language,
            subject=part.subject,
            seen=part.seen,
            before=score(bool(base.right) for base, _ in part.pairs),
            after=score(bool(tuned.right) for _, tuned in part.pairs),
            comparison=compared[number],
            forgotten=-compared[number].difference > threshold,
        )
        for number, part in enumerate(parts)
    )


def _parts(tasks: Sequence[TaskPlan], answered: Mapping[str, Pairs]) -> Iterator[Part]:
    unseen = [task for task in tasks if not task.seen and answered[task.name]]
    for language in sorted({task.language for task in unseen}):
        yield Part(None, language, None, False, [pair for task in unseen if task.language == language for pair in answered[task.name]])
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


def _outcomes(pairs: Pairs) -> tuple[list[bool], list[bool]]:
    return [bool(base.right) for base, _ in pairs], [bool(tuned.right) for _, tuned in pairs]
