"""Which questions tuning changed the answer to: right before and wrong now, or the other way round, to be opened by task, kind and subject without a script.

Read from the answers that stay in the run's folder, which name questions by file and line. A question's text is shown only where the site retains its samples.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from medfinetune_api.choices import Format, Retained
from medfinetune_api.layout import RunFolder
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_evaluation import TaskPlan

from medfinetune_trainer.report.elements import Child, el, name, table

ROWS = 1000
"""Questions of a task and kind that are listed: the first in the order of asking."""


@dataclass(frozen=True)
class Changed:
    """One question whose answer changed."""

    where: str
    """`file:line`."""
    subject: str
    right: str
    """The right letter or word; a dash where several are right."""
    base: str
    tuned: str
    gained: bool
    """Wrong before, right now; else the other way round."""
    question: str = ""
    """Its text, where samples are retained."""


@dataclass(frozen=True)
class TaskChanges:
    """What changed in one task, in the order of asking."""

    task: str
    changed: tuple[Changed, ...]


def changed_answers(plan: RunPlan, folder: RunFolder, damaged: list[str]) -> tuple[TaskChanges, ...]:
    """Of every task with options that base and tuned model have answered; files that cannot be read are added to `damaged`."""
    found = []
    for task in plan.evaluation.tasks:
        files = [folder.answers(variant, task.name) for variant in ("base", "tuned")]
        if not task.metrics and all(file.exists() for file in files):
            try:
                found.append(TaskChanges(task.name, tuple(_changed(plan, folder, task))))
            except (OSError, ValueError, LookupError, TypeError):
                damaged.extend(file.name for file in files)
    return tuple(found)


def changes_of(found: Sequence[TaskChanges]) -> list[Element | None]:
    """What the section on results has of them."""
    listed = [el("details", el("summary", *_title(one)), *_kinds(one)) for one in found if one.changed]
    return [el("h3", "Changed answers"), el("p", _KEY), *listed] if listed else []


_KEY = "Questions that one of base and tuned model answered rightly and the other did not, by file and line. Open a task, then a kind, then a subject."


def _changed(plan: RunPlan, folder: RunFolder, task: TaskPlan) -> Iterator[Changed]:
    before, after = (list(_lines(folder.answers(variant, task.name))) for variant in ("base", "tuned"))
    pairs = [(then, now) for then, now in zip(before, after, strict=True) if then["right"] != now["right"]]
    questions = _questions(plan, folder, task, {now["where"] for _, now in pairs})
    for then, now in pairs:
        base, tuned = (_choice(task, answer.get("chosen")) for answer in (then, now))
        right = tuned if now["right"] else base
        yield Changed(now["where"], now.get("subject", ""), right, base, tuned, bool(now["right"]), questions.get(now["where"], ""))


def _questions(plan: RunPlan, folder: RunFolder, task: TaskPlan, wanted: set[str]) -> dict[str, str]:
    """Texts of the wanted questions, where the site retains them."""
    file = folder.evaluation / f"samples_tuned_{task.name}.jsonl"
    if Retained.SAMPLES not in plan.output.retain or not file.exists():
        return {}
    docs = (sample["doc"] for sample in _lines(file))
    return {doc["where"]: doc["prompt"] for doc in docs if doc["where"] in wanted}


def _lines(file: Path) -> Iterator[Any]:
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _choice(task: TaskPlan, index: int | None) -> str:
    if index is None:
        return "–"
    return ("yes", "no", "maybe")[index] if task.format is Format.PUBMEDQA else "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[index]


def _title(one: TaskChanges) -> tuple[Child, ...]:
    gained = sum(each.gained for each in one.changed)
    return name(one.task), f": {len(one.changed) - gained:,} right before and wrong now, {gained:,} wrong before and right now"


def _kinds(one: TaskChanges) -> Iterable[Element]:
    for gained, kind in ((False, "Right before, wrong now"), (True, "Wrong before, right now")):
        found = [each for each in one.changed if each.gained is gained]
        if found:
            yield el("details", el("summary", f"{kind}: {len(found):,}"), *_subjects(found[:ROWS]), _left(len(found) - ROWS))


def _subjects(found: Sequence[Changed]) -> Iterable[Element]:
    for subject in sorted({each.subject for each in found}):
        rows = [each for each in found if each.subject == subject]
        label: Child = name(subject) if subject else "no subject"
        yield el("details", el("summary", label, f": {len(rows):,}"), _table(rows))


def _table(rows: Sequence[Changed]) -> Element:
    head = ("question", "right", "base", "tuned")
    texts = any(each.question for each in rows)
    return table((*head, "text") if texts else head, (_row(each, texts) for each in rows), numbers_from=len(head) + 1)


def _row(each: Changed, texts: bool) -> tuple[Child, ...]:
    cells: tuple[Child, ...] = (name(each.where), each.right, each.base, each.tuned)
    return (*cells, el("details", el("summary", "open"), el("pre", each.question))) if texts else cells


def _left(count: int) -> Element | None:
    return el("p", f"{count:,} more are in the answers_*.jsonl files of evaluation/.", class_="soft") if count > 0 else None
