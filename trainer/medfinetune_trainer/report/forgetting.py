"""What tuning changed: every language, task and subject before and after, with what was forgotten marked (the study's table of shifts by domain)."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from medfinetune_api.results_evaluation import Change, EvaluationSummary

from medfinetune_trainer.report.differences import change, flag, p_value
from medfinetune_trainer.report.elements import Child, el, name, table
from medfinetune_trainer.report.words import FEW, scored

ROWS = 200
"""Rows that are shown: all that are flagged or beyond noise first, then those with the most questions."""
HEAD = ("task", "subject", "measured by", "n", "before %", "after %", "change, points", "p (Holm)", "what that says")


def forgetting(summary: EvaluationSummary, threshold: float) -> list[Element | None]:
    """The section's content; `threshold` is the plan's."""
    if not summary.changes:
        return [el("p", "The untuned base was not asked: what tuning changed is not known.")]
    shown = _shown(summary.changes)
    left = len(summary.changes) - len(shown)
    more = f"; {ROWS} rows of {len(summary.changes):,}, the others are in evaluation/summary.json" if left else ""
    return [
        el("p", f"{told(summary.changes, threshold)} {_KEY.format(len(summary.changes))}"),
        *(_language(language, [row for row in shown if row.language == language], more) for language in sorted({row.language for row in shown})),
    ]


def told(changes: Sequence[Change], threshold: float) -> str:
    """In one sentence, how much was forgotten."""
    forgotten = [row for row in changes if row.forgotten]
    beyond = sum(row.comparison.beyond_noise for row in forgotten)
    if not forgotten:
        return f"No language, task or subject lost more than {100 * threshold:g} points."
    return f"{len(forgotten):,} of {len(changes):,} languages, tasks and subjects lost more than {100 * threshold:g} points, {beyond:,} of them beyond noise."


_KEY = (
    "▼ marks such a loss. Whether a change is beyond noise is judged over all {:,} rows, and so more strictly than in the table by task. * marks "
    f"fewer than {FEW} questions."
)


def _shown(changes: Sequence[Change]) -> list[Change]:
    """In the order of the table."""
    weight = sorted(range(len(changes)), key=lambda index: (not _stands_out(changes[index]), -changes[index].after.n, index))[:ROWS]
    return [changes[index] for index in sorted(weight)]


def _stands_out(row: Change) -> bool:
    return row.forgotten or row.comparison.beyond_noise or row.subject is None


def _language(language: str, rows: Sequence[Change], more: str) -> Element:
    return table(HEAD, map(_row, rows), f"What tuning changed in {language}{more}", numbers_from=3, words=1)


def _row(row: Change) -> tuple[Child, ...]:
    task: Child = el("span", name(row.task), ", trained on" if row.seen else "") if row.task else "all that is unseen"
    subject: Child = name(row.subject) if row.subject else "all"
    few = "*" if row.after.n < FEW else ""
    figures = (f"{row.after.n:,}{few}", scored(row.before), scored(row.after), change(row.comparison), p_value(row.comparison.p_holm))
    return task, subject, row.metric, *figures, el("strong", flag(row)) if row.forgotten else flag(row)
