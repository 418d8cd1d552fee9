"""Whether the model is right as often as it is sure: the calibration error, the reliability plot, and what is left where it keeps silent when unsure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import Element

from medfinetune_api.results_calibration import Abstention, Calibration
from medfinetune_api.results_evaluation import EvaluationSummary, TaskScores

from medfinetune_trainer.report.chart import Line, beside, chart
from medfinetune_trainer.report.elements import el, name, table
from medfinetune_trainer.report.words import percent

SURE = "mean probability of the chosen letter, %"


def calibration(summary: EvaluationSummary) -> list[Element | None]:
    """The section's content."""
    tasks = [task for task in summary.tasks if task.tuned_calibration]
    if not tasks:
        return [el("p", "No task was answered by the likelihood of letters: how sure the model was is not known.")]
    rows = [(name(task.task), f"{task.tuned.n:,}", calibration_error(task.base_calibration), calibration_error(task.tuned_calibration)) for task in tasks]
    return [
        el("p", _KEY),
        table(("task", "n", "base", "tuned"), rows, "Expected calibration error, in percentage points, with its bootstrap 95 % interval"),
        *(part for task in tasks for part in _task(task)),
    ]


def calibration_error(found: Calibration | None) -> str:
    """The expected calibration error with its interval, in percentage points; a dash where it was not measured."""
    return f"{100 * found.error:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]" if found else "–"


_KEY = (
    "Confidence is the probability of the chosen letter among the choices. A calibrated model is right in 70 % of the answers of which it is 70 % sure: its "
    "points lie on the diagonal; below it, it is surer than it is right. The calibration error is the mean distance from the diagonal, each bin weighing as "
    "much as it has answers. Abstention shows what is left where answers below a confidence are withheld. Both hold for the letters of these examinations "
    "alone."
)


def _task(task: TaskScores) -> Iterator[Element | None]:
    yield beside(_reliability(task), _abstention(task))
    bins = [_bin(number, task) for number in _occupied(task)]
    head = ("confidence, %", "n, base", "right, base %", "n, tuned", "right, tuned %")
    yield el("details", el("summary", "The bins of ", name(task.task)), table(head, bins))


def _reliability(task: TaskScores) -> Element | None:
    lines = [Line(variant, _points(found)) for variant, found in _variants(task)]
    return chart(f"Reliability: {task.task}", SURE, "right, %", [*lines, Line("as right as sure", [(0.0, 0.0), (100.0, 100.0)])], from_zero=True)


def _abstention(task: TaskScores) -> Element | None:
    points: Abstention = task.abstention
    right = [(100 * point.threshold, 100 * point.accuracy) for point in points if point.accuracy is not None]
    answered = [(100 * point.threshold, 100 * point.answered) for point in points]
    lines = [Line("right, of what is answered", right), Line("answered", answered)]
    return chart(f"Abstention, tuned: {task.task}", "least confidence of an answer, %", "%", lines, from_zero=True)


def _variants(task: TaskScores) -> Iterator[tuple[str, Calibration]]:
    for variant, found in (("tuned", task.tuned_calibration), ("base", task.base_calibration)):
        if found:
            yield variant, found


def _points(found: Calibration) -> list[tuple[float, float]]:
    return [(100 * one.confidence, 100 * one.accuracy) for one in found.bins if one.n]


def _occupied(task: TaskScores) -> Iterable[int]:
    return sorted({number for _, found in _variants(task) for number, one in enumerate(found.bins) if one.n})


def _bin(number: int, task: TaskScores) -> tuple[str, ...]:
    width = 100 / len(task.tuned_calibration.bins) if task.tuned_calibration else 0
    cells = (cell for found in (task.base_calibration, task.tuned_calibration) for cell in _counted(found, number))
    return f"{number * width:.0f} – {(number + 1) * width:.0f}", *cells


def _counted(found: Calibration | None, number: int) -> tuple[str, str]:
    if found is None or not found.bins[number].n:
        return "–", "–"
    return f"{found.bins[number].n:,}", percent(found.bins[number].accuracy)
