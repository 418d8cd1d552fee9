"""What a gate looks at: the measurement that its scope, metric and bound ask for, from the summary and, where that does not tell it, from the answers.

Nothing is assumed: what was not measured raises NotMeasured, and a gate on it fails.
"""

from __future__ import annotations

from medfinetune_api.choices import GateMetric
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_evaluation import GatePlan
from medfinetune_api.results_evaluation import Comparison, EvaluationSummary, TaskScores, TextScores

from medfinetune_trainer.evaluation.statistics import wilson_interval
from medfinetune_trainer.gates import answered
from medfinetune_trainer.gates.measurement import Measurement, NotMeasured
from medfinetune_trainer.gates.noninferiority import greatest_loss
from medfinetune_trainer.gates.scope import tasks_of


def measure(plan: RunPlan, gate: GatePlan, summary: EvaluationSummary) -> Measurement:
    """What `gate` of `plan` looks at. Raises NotMeasured."""
    if gate.max_drop is None:
        return _level(plan, gate, summary)
    if gate.against is None:
        return _loss(gate, _comparison(plan, gate, summary))
    return _loss(gate, answered.against_run(plan, gate))


def _level(plan: RunPlan, gate: GatePlan, summary: EvaluationSummary) -> Measurement:
    """A figure of the tuned model itself."""
    if gate.metric is GateMetric.CODE_MIXING:
        names = [gate.task] if gate.task else [task.name for task in tasks_of(plan, gate)]
        return _code_mixing(gate, [_text(name, gate, summary) for name in names])
    if gate.metric is GateMetric.ACCURACY:
        return _accuracy(gate, summary)
    if gate.task is None or gate.subject is not None:
        return answered.level(plan, gate)
    if gate.metric is GateMetric.CALIBRATION_ERROR:
        return _calibration(_exam(gate, summary))
    mean = _text(gate.task, gate, summary).tuned.get(gate.metric)
    if mean is None or not mean.n:
        raise NotMeasured(f"{gate.metric} is not measured in task {gate.task}")
    return Measurement.of(mean)


def _accuracy(gate: GatePlan, summary: EvaluationSummary) -> Measurement:
    if gate.language is not None:
        score, missing = summary.tuned_by_language.get(gate.language), f"no unseen question in {gate.language}"
    else:
        exam, missing = _exam(gate, summary), f"no question of subject {gate.subject} in task {gate.task}"
        score = exam.tuned if gate.subject is None else exam.tuned_by_subject.get(gate.subject)
    if score is None or not score.n:
        raise NotMeasured(missing)
    return Measurement(score.n, score.accuracy, score.low, score.high)


def _calibration(exam: TaskScores) -> Measurement:
    found = exam.tuned_calibration
    if found is None or not exam.tuned.n:
        raise NotMeasured(f"calibration is not measured in task {exam.task}: it needs the likelihoods of letters")
    return Measurement(exam.tuned.n, found.error, found.low, found.high, bootstrapped=True)


def _code_mixing(gate: GatePlan, texts: list[TextScores]) -> Measurement:
    """The share of answers with an English word, of which the summary has no interval: it is a proportion."""
    found = [text.tuned_code_mixing for text in texts if text.tuned_code_mixing]
    n, mixed = sum(each.n for each in found), sum(round(each.answers * each.n) for each in found)
    if not n:
        raise NotMeasured(f"code-mixing is not measured in {gate.task or gate.language}: it needs answers in another language than English")
    low, high = wilson_interval(mixed, n)
    return Measurement(n, mixed / n, low, high)


def _loss(gate: GatePlan, comparison: Comparison) -> Measurement:
    """What was lost: the difference the other way round. Of accuracy, its upper end is the worse one of the bootstrap's and Tango's."""
    exact = gate.metric is GateMetric.ACCURACY
    worst = greatest_loss(comparison.n, comparison.gained, comparison.lost) if exact else -1.0
    return Measurement(comparison.n, -comparison.difference, -comparison.high, max(-comparison.low, worst), bootstrapped=not exact)


def _comparison(plan: RunPlan, gate: GatePlan, summary: EvaluationSummary) -> Comparison:
    """The tuned model against the base, as the summary has it."""
    if gate.metric is not GateMetric.ACCURACY:
        if gate.task is None or gate.subject is not None:
            return answered.against_base(plan, gate)
        found = _text(gate.task, gate, summary).comparisons.get(gate.metric)
    elif gate.task is not None and (gate.subject is None or _is_whole(gate, summary)):
        found = _exam(gate, summary).comparison
    else:
        scope = (gate.task, gate.subject)
        rows = (row for row in summary.exam_changes if (row.task, row.subject) == scope and (gate.task or row.language == gate.language))
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


def _text(task: str, gate: GatePlan, summary: EvaluationSummary) -> TextScores:
    for text in summary.texts:
        if text.task == task:
            return text
    raise NotMeasured(f"{gate.metric} is not measured in task {task}")
