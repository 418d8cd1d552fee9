"""What a gate looks at: the measurement that its scope, metric and bound ask for, from the summary of this run and, for `against`, the answers of another.

Nothing is assumed: what was not measured raises NotMeasured, and a gate on it fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medfinetune_api.choices import GateMetric
from medfinetune_api.errors import OutputConflict
from medfinetune_api.layout import RunFolder
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_evaluation import GatePlan
from medfinetune_api.results_evaluation import Comparison, EvaluationSummary, Score, TaskScores, TextScores

from medfinetune_trainer.evaluation.answers import Answer, paired, read_answers
from medfinetune_trainer.evaluation.comparison import compare, compare_means
from medfinetune_trainer.evaluation.statistics import wilson_interval
from medfinetune_trainer.gates.noninferiority import greatest_loss


class NotMeasured(Exception):  # noqa: N818  # says what is so
    """Why there is nothing to hold against the bound; a phrase without record text."""


@dataclass(frozen=True)
class Measurement:
    """A figure with its 95 % interval; for maxDrop what was lost, -1 to 1."""

    n: int
    value: float
    low: float
    high: float
    bootstrapped: bool = False
    """Whether the interval is a bootstrap's, which says little of few answers."""


def measure(plan: RunPlan, gate: GatePlan, summary: EvaluationSummary) -> Measurement:
    """What `gate` of `plan` looks at. Raises NotMeasured."""
    if gate.max_drop is None:
        return _level(gate, summary)
    if gate.against is None:
        return _loss(gate, _comparison(gate, summary))
    return _loss(gate, _against(plan, gate))


def _level(gate: GatePlan, summary: EvaluationSummary) -> Measurement:
    """A figure of the tuned model itself."""
    if gate.language is not None:
        return _accuracy(summary.tuned_by_language.get(gate.language), f"no unseen question in {gate.language}")
    if gate.metric is GateMetric.ACCURACY:
        exam = _exam(gate, summary)
        score = exam.tuned if gate.subject is None else exam.tuned_by_subject.get(gate.subject)
        return _accuracy(score, f"no question of subject {gate.subject} in task {gate.task}")
    if gate.metric is GateMetric.CALIBRATION_ERROR:
        return _calibration(_exam(gate, summary))
    text = _text(gate, summary)
    if gate.metric is GateMetric.CODE_MIXING:
        return _code_mixing(text)
    mean = text.tuned.get(gate.metric)
    if mean is None or not mean.n:
        raise NotMeasured(f"{gate.metric} is not measured in task {gate.task}")
    return Measurement(mean.n, mean.mean, mean.low, mean.high, bootstrapped=True)


def _accuracy(score: Score | None, missing: str) -> Measurement:
    if score is None or not score.n:
        raise NotMeasured(missing)
    return Measurement(score.n, score.accuracy, score.low, score.high)


def _calibration(exam: TaskScores) -> Measurement:
    found = exam.tuned_calibration
    if found is None or not exam.tuned.n:
        raise NotMeasured(f"calibration is not measured in task {exam.task}: it needs the likelihoods of letters")
    return Measurement(exam.tuned.n, found.error, found.low, found.high, bootstrapped=True)


def _code_mixing(text: TextScores) -> Measurement:
    """The share of answers with an English word, of which the summary has no interval: it is a proportion."""
    found = text.tuned_code_mixing
    if found is None or not found.n:
        raise NotMeasured(f"code-mixing is not measured in task {text.task}: it needs answers in another language than English")
    low, high = wilson_interval(round(found.answers * found.n), found.n)
    return Measurement(found.n, found.answers, low, high)


def _loss(gate: GatePlan, comparison: Comparison) -> Measurement:
    """What was lost: the difference the other way round. Of accuracy, its upper end is the worse one of the bootstrap's and Tango's."""
    exact = gate.metric is GateMetric.ACCURACY
    worst = greatest_loss(comparison.n, comparison.gained, comparison.lost) if exact else -1.0
    return Measurement(comparison.n, -comparison.difference, -comparison.high, max(-comparison.low, worst), bootstrapped=not exact)


def _comparison(gate: GatePlan, summary: EvaluationSummary) -> Comparison:
    """The tuned model against the base, as the summary has it."""
    if gate.metric is not GateMetric.ACCURACY:
        found = _text(gate, summary).comparisons.get(gate.metric)
    elif gate.task is not None and (gate.subject is None or _is_whole(gate, summary)):
        found = _exam(gate, summary).comparison
    else:
        scope = (gate.task, gate.subject)
        rows = (row for row in summary.changes if (row.task, row.subject) == scope and (gate.task or row.language == gate.language))
        found = next((row.comparison for row in rows), None)
    if found is None or not found.n:
        raise NotMeasured("base and tuned model have no questions in common there")
    return found


def _is_whole(gate: GatePlan, summary: EvaluationSummary) -> bool:
    """Whether the gate's subject is that of all questions of its task: then no row of its own compares it."""
    exam = _exam(gate, summary)
    score = exam.tuned_by_subject.get(gate.subject or "")
    return score is not None and score.n == exam.tuned.n


def _exam(gate: GatePlan, summary: EvaluationSummary) -> TaskScores:
    for exam in summary.tasks:
        if exam.task == gate.task:
            return exam
    raise NotMeasured(f"{gate.metric} is not measured in task {gate.task}")


def _text(gate: GatePlan, summary: EvaluationSummary) -> TextScores:
    for text in summary.texts:
        if text.task == gate.task:
            return text
    raise NotMeasured(f"{gate.metric} is not measured in task {gate.task}")


def _against(plan: RunPlan, gate: GatePlan) -> Comparison:
    """The tuned model against that of another run, question by question."""
    other = RunFolder(Path(plan.mounts.output) / str(gate.against))
    pairs = [pair for task in _tasks(plan, gate) for pair in _pairs(plan.folder, other, task, gate)]
    if not pairs:
        raise NotMeasured(f"this run and {gate.against} have no answers in common there")
    if gate.metric is GateMetric.ACCURACY:
        return compare([bool(then.right) for then, _ in pairs], [bool(now.right) for _, now in pairs], plan.training.seed)
    values = list(_measured(gate, pairs))
    return compare_means([then for then, _ in values], [now for _, now in values], plan.training.seed)


def _tasks(plan: RunPlan, gate: GatePlan) -> list[str]:
    """The tasks that a gate looks at."""
    if gate.task is not None:
        return [gate.task]
    return [task.name for task in plan.evaluation.tasks if task.language == gate.language and not task.seen and not task.metrics]


def _pairs(folder: RunFolder, other: RunFolder, task: str, gate: GatePlan) -> list[tuple[Answer, Answer]]:
    try:
        before, after = (read_answers(each, "tuned", task) for each in (other, folder))
    except OutputConflict as conflict:
        raise NotMeasured(f"{Path(conflict.where).parent.parent.name} keeps no answers to task {task} that can be read") from conflict
    pairs = paired(before, after)
    if not len(pairs) == len(before) == len(after):
        raise NotMeasured(f"{gate.against} was asked other questions in task {task}: {len(before)}, of {len(after)} here {len(pairs)} the same")
    return [pair for pair in pairs if gate.subject is None or pair[1].subject == gate.subject]


def _measured(gate: GatePlan, pairs: list[tuple[Answer, Answer]]) -> Iterator[tuple[float, float]]:
    for then, now in pairs:
        if gate.metric not in then.measured or gate.metric not in now.measured:
            raise NotMeasured(f"{gate.metric} is not measured in task {gate.task} of both runs")
        yield then.measured[gate.metric], now.measured[gate.metric]
