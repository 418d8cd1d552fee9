"""The pre-deployment checklist of a clinical model, filled from a run's artifacts: done, open, or failed, each with its figure and its file.

What was not measured is open, and what no run can know (intended use, lawful basis, use with patients) is open whatever the run has: a person answers it. The
items are those parts of published guidance on which a training run bears, or which it must not be mistaken to answer (docs/checklist.md):

    TRIPOD+AI (Collins et al. 2024, BMJ 385:e078378), CONSORT-AI (Liu et al. 2020, BMJ 370:m3164), DECIDE-AI (Vasey et al. 2022, BMJ 377:e070904),
    WHO 2023 (Regulatory considerations on artificial intelligence for health), WHO 2024 (Guidance on large multi-modal models),
    Model cards (Mitchell et al. 2019, FAT* '19)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element

from medfinetune_trainer.artifacts.verification import Verdict
from medfinetune_trainer.report.checklist_data import data_items
from medfinetune_trainer.report.checklist_items import Item, State
from medfinetune_trainer.report.checklist_results import result_items
from medfinetune_trainer.report.checklist_trust import trust_items
from medfinetune_trainer.report.elements import el, table
from medfinetune_trainer.report.run import Run

WORDS = {State.DONE: "done", State.OPEN: "OPEN", State.FAILED: "FAILED"}
NO_APPROVAL = "A list without open items would still make no model fit for use with patients: that takes a clinical evaluation of its own."


def checklist(run: Run, verdict: Verdict | None = None) -> list[Item]:
    """Every item, in the order in which a run comes about. `verdict` is of the folder as it lies now; None leaves the lineage unchecked, and open."""
    return [*data_items(run), *result_items(run), *trust_items(run, verdict)]


def counted(items: Sequence[Item]) -> str:
    """How many are done, open and failed, in words."""
    counts = Counter(item.state for item in items)
    return ", ".join(f"{counts[state]} {WORDS[state]}" for state in State) + f". {NO_APPROVAL}"


def section(items: Sequence[Item]) -> list[Element | None]:
    """The page's section."""
    rows = [(WORDS[item.state], item.question, el("bdi", item.finding), ", ".join(item.evidence) or "–", item.guidance) for item in items]
    head = ("state", "item", "what is known", "evidence", "asked for by")
    return [el("p", counted(items)), table(head, rows, numbers_from=9)]


def markdown(items: Sequence[Item], text: Callable[[str], str]) -> str:
    """As a task list; `text` makes a finding, which holds names, plain to Markdown."""
    marks = {State.DONE: "[x] ", State.OPEN: "[ ] OPEN: ", State.FAILED: "[ ] **FAILED**: "}
    lines = (f"- {marks[item.state]}{item.question} {text(item.finding)}{_files(item)} ({text(item.guidance)})" for item in items)
    return "\n".join((counted(items), "", *lines))


def _files(item: Item) -> str:
    return f" Evidence: {', '.join(item.evidence)}." if item.evidence else ""
