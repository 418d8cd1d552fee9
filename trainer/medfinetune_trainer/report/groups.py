"""What else the questions show: by year and by medical law, and in several orders of their options, base against tuned."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from medfinetune_api.results_evaluation import EvaluationSummary, Orders, TaskScores

from medfinetune_trainer.report import differences
from medfinetune_trainer.report.elements import Child, el, name, table
from medfinetune_trainer.report.words import FEW, percent, scored

GROUPS = 100
"""Groups of a task that are shown: the first by name."""
_MEANINGS = {"law=yes": "medical law (cites a statute)", "law=no": "no medical law"}
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ORDERS_KEY = (
    "Each question asked in several orders of its options. Accuracy over all of them, with the interval of as many questions; consistent: questions whose "
    "chosen option stays the same in every order; letters: share of all answers. Who knows the answers has equal shares and high consistency; who "
    "prefers a letter, whatever stands under it, has neither."
)


def groups(summary: EvaluationSummary) -> list[Element | None]:
    """Tables of the tasks whose questions have years or cite statutes, and of those asked in several orders; none where there is neither."""
    asked = [task for task in summary.tasks if task.tuned_orders]
    tables: list[Element | None] = [_groups(task) for task in summary.tasks if task.tuned_by_group]
    if asked:
        rows = [row for task in asked for row in _orders(task)]
        head = ("task", "model", "orders", "questions", "as in the file %", "over all orders %", "consistent", "letters")
        tables += [table(head, rows, "In several orders of the options", numbers_from=2), el("p", _ORDERS_KEY, class_="soft")]
    return tables


def _groups(task: TaskScores) -> Element:
    labels = sorted(task.tuned_by_group)
    rows = [_group(task, label) for label in labels[:GROUPS]]
    left = len(labels) - len(rows)
    more = f"; {left} more groups are in evaluation/summary.json" if left > 0 else ""
    return table(("questions", "n", "base %", "tuned %", *differences.HEAD), rows, f"{task.task} by year and law{more}")


def _group(task: TaskScores, label: str) -> tuple[Child, ...]:
    base, tuned = task.base_by_group.get(label), task.tuned_by_group[label]
    few = "*" if tuned.n < FEW else ""
    meaning = _MEANINGS.get(label, label.replace("=", " ", 1))
    return name(meaning), f"{tuned.n:,}{few}", scored(base), scored(tuned), *differences.change_or_gain(task.comparison_by_group.get(label), base, tuned)


def _orders(task: TaskScores) -> list[tuple[Child, ...]]:
    variants = (("base", task.base_orders, task.base), ("tuned", task.tuned_orders, task.tuned))
    return [
        (
            name(task.task),
            variant,
            f"{found.orders}",
            f"{found.accuracy.n:,}",
            scored(headline),
            scored(found.accuracy),
            percent(found.consistent),
            _letters(found),
        )
        for variant, found, headline in variants
        if found
    ]


def _letters(found: Orders) -> str:
    return ", ".join(f"{letter} {percent(share)}" for letter, share in zip(_LETTERS, found.chosen_letters, strict=False))
