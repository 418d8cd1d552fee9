"""What the model answered rightly: by language, task and subject, base against tuned, each with its n and its interval as numbers and as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from xml.etree.ElementTree import Element

from medfinetune_api.results_evaluation import Comparison, EvaluationSummary, Score, TaskScores

from medfinetune_trainer.report import differences
from medfinetune_trainer.report.elements import Child, el, name, table
from medfinetune_trainer.report.words import FEW, scored

SUBJECTS = 100
"""Subjects of a task that are shown: those with the most questions."""
HEAD = ("n", "base %", "tuned %", "change, points", "0 – 100 %")
Compared = Mapping[tuple[str | None, str, str | None], Comparison]
"""Comparisons of the table of changes, by task, language and subject."""
SCALE = 2.2
"""Units of the view box a percentage point; 0 lies at 5."""


def accuracy(summary: EvaluationSummary) -> list[Element | None]:
    """The section's content."""
    if not summary.tasks and summary.texts:
        return []
    if not summary.tasks:
        return [el("p", "The manifest names no task: nothing was asked, and nothing is known of what this adapter is worth.")]
    compared = {(row.task, row.language, row.subject): row.comparison for row in summary.exam_changes}
    languages = [
        _row(name(language), summary.base_by_language.get(language), score, compared.get((None, language, None)))
        for language, score in summary.tuned_by_language.items()
    ]
    tasks = [(_task(task), task.language, *_row(None, task.base, task.tuned, task.comparison)[1:]) for task in summary.tasks]
    return [
        el("p", _KEY[0], _interval_key("base"), _KEY[1], _interval_key("tuned"), _KEY[2]),
        el("p", differences.KEY) if compared else None,
        table(("language", *HEAD), languages, "By language: all questions that were not trained on") if languages else None,
        table(("task", "language", *HEAD), tasks, "By task", numbers_from=2),
        *(_subjects(task, compared) for task in summary.tasks if len(task.tuned_by_subject) > 1),
    ]


_KEY = (
    "Share of n questions answered rightly, in per cent, with its Wilson 95 % interval in brackets and as a line; ",
    " open circle: the untuned base, ",
    f" square: the tuned model, on the same questions. * marks fewer than {FEW} questions.",
)


def _task(task: TaskScores) -> Element:
    of = "" if task.questions == task.available else f", {task.questions} of {task.available} drawn"
    label = (name(task.task), ", trained on" if task.seen else "", of, el("span", f" (version {task.version})", class_="soft"))
    return el("span", *label, None if task.seen else el("span", f"contamination: {_contamination(task)}", class_="under"))


def _contamination(task: TaskScores) -> str:
    """What stands beside an accuracy of how much of it may be memory."""
    clean = task.clean
    if clean is None or not clean.contaminated:
        return "none found" if clean else "not measured"
    if clean.tuned and clean.tuned.n == task.tuned.n:
        return f"{clean.contaminated:,} left out, not asked"
    return f"{clean.contaminated:,} of {task.questions:,}; tuned without them {scored(clean.tuned)}, n = {clean.tuned.n if clean.tuned else 0:,}"


def _subjects(task: TaskScores, compared: Compared) -> Element:
    scores = task.tuned_by_subject
    most = sorted(scores, key=lambda subject: (-scores[subject].n, subject))[:SUBJECTS]
    rows = [
        _row(name(subject), task.base_by_subject.get(subject), scores[subject], compared.get((task.task, task.language, subject))) for subject in sorted(most)
    ]
    left = len(scores) - len(most)
    more = f"; the {SUBJECTS} subjects with the most questions, {left} more are in evaluation/summary.json" if left else ""
    return table(("subject", *HEAD), rows, f"{task.task} by subject{more}")


def _row(label: Child, base: Score | None, tuned: Score, compared: Comparison | None) -> tuple[Child, ...]:
    few = "*" if tuned.n < FEW else ""
    figures = (f"{tuned.n:,}{few}", scored(base), scored(tuned), differences.cell(compared, base, tuned))
    return label, *figures, _intervals({"base": base, "tuned": tuned})


def _intervals(scores: Mapping[str, Score | None]) -> Element:
    """Both intervals on one scale, 0 to 100 %."""
    grid = [el("line", x1=_at(share), x2=_at(share), y1=0, y2=26, class_="grid") for share in (0, 0.25, 0.5, 0.75, 1)]
    drawn = [part for row, (variant, score) in enumerate(scores.items()) if score for part in _interval(variant, score, 7 + 12 * row)]
    told = ", ".join(f"{variant} {scored(score)} %" for variant, score in scores.items() if score)
    return el("svg", *grid, *drawn, viewBox="0 0 230 26", class_="interval", role="img", aria_label=told)


def _interval(variant: str, score: Score, y: int) -> Iterable[Element]:
    yield el("line", x1=_at(score.low), x2=_at(score.high), y1=y, y2=y, class_=variant)
    yield _place(variant, _at(score.accuracy), y)


def _place(variant: str, x: float, y: int) -> Element:
    if variant == "base":
        return el("circle", cx=x, cy=y, r=3.5, class_=variant)
    return el("rect", x=round(x - 3.5, 1), y=y - 3.5, width=7, height=7, class_=variant)


def _interval_key(variant: str) -> Element:
    line = el("line", x1=2, x2=34, y1=7, y2=7, class_=variant)
    return el("svg", line, _place(variant, 18, 7), viewBox="0 0 36 14", class_="key", aria_hidden="true")


def _at(share: float) -> float:
    return round(5 + 100 * share * SCALE, 1)
