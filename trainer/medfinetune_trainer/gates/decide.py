"""Whether a gate holds: the named end of a measurement against a bound, and the report of all gates of a run, `evaluation/gates.json`.

By Interval it is the worse end of the 95 % interval that must hold, which makes maxDrop a test of non-inferiority: a run passes not because no loss was shown,
but because a loss beyond the bound is ruled out. Few questions have a wide interval, and so cannot pass.
"""

from __future__ import annotations

from medfinetune_api.choices import DecidedBy
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_evaluation import GatePlan
from medfinetune_api.results_evaluation import EvaluationSummary
from medfinetune_api.results_gates import GateOutcome, GateReport

from medfinetune_trainer.artifacts.files import write_text
from medfinetune_trainer.gates.measure import measure
from medfinetune_trainer.gates.measurement import Measurement, NotMeasured

FEWEST = 30
"""Answers below which a bootstrap's interval decides nothing: it is too narrow for few."""


def judged(plan: RunPlan, summary: EvaluationSummary) -> GateReport:
    """What the gates of `plan` decide about `summary`; written down once, and read from then on. Raises StorageFailed; OutputConflict as `fence.check`."""
    file = plan.folder.gates
    found = GateReport.read(file)
    if found is None or found.plan_sha256 != plan.sha256:
        found = GateReport(plan_sha256=plan.sha256, gates=tuple(decide(plan, gate, summary) for gate in plan.evaluation.gates))
        if found.gates:
            write_text(file, found.to_json() + "\n")
    return found


def decide(plan: RunPlan, gate: GatePlan, summary: EvaluationSummary) -> GateOutcome:
    """What became of one gate; one on what was not measured has failed."""
    try:
        found = measure(plan, gate, summary)
    except NotMeasured as missing:
        return GateOutcome(gate=gate, passed=False, sentence=f"{scope(gate)}: not measured, and so not passed: {missing}."[:1024])
    return GateOutcome(
        gate=gate,
        n=found.n,
        value=found.value,
        low=max(-1.0, found.low),
        high=min(1.0, found.high),
        passed=passes(gate, found),
        sentence=_sentence(gate, found),
    )


def passes(gate: GatePlan, found: Measurement) -> bool:
    """Whether the end of the interval, or the estimate, that decides satisfies the bound; equality does."""
    if too_few(gate, found):
        return False
    if gate.minimum is not None:
        return _deciding(gate, found) >= gate.minimum
    bound = gate.max_drop if gate.maximum is None else gate.maximum
    return bound is not None and _deciding(gate, found) <= bound


def too_few(gate: GatePlan, found: Measurement) -> bool:
    """Whether there are too few answers for their interval to decide."""
    return gate.decided_by is DecidedBy.INTERVAL and found.bootstrapped and found.n < FEWEST


def scope(gate: GatePlan) -> str:
    """What a gate looks at, in words."""
    place = f"language {gate.language}" if gate.task is None else gate.task if gate.subject is None else f"{gate.task}, {gate.subject}"
    return f"{gate.metric} of {place}"


def _deciding(gate: GatePlan, found: Measurement) -> float:
    if gate.decided_by is DecidedBy.ESTIMATE:
        return found.value
    return found.low if gate.minimum is not None else found.high


def _sentence(gate: GatePlan, found: Measurement) -> str:
    counted = f"{found.n:,} question" + ("s" if found.n != 1 else "")
    figure = f"{_percent(found.value)} [{_percent(found.low)}, {_percent(found.high)}] of {counted}"
    if gate.max_drop is not None:
        figure = f"lost {figure} against {gate.against or 'the base'}"
    held = "held" if passes(gate, found) else "not held"
    if too_few(gate, found):
        return f"{scope(gate)}: {figure}; {_asked(gate)}, not held: an interval of fewer than {FEWEST} answers decides nothing."
    return f"{scope(gate)}: {figure}; {_asked(gate)}, {held} by its {_named(gate)}, {_percent(_deciding(gate, found))}."


def _asked(gate: GatePlan) -> str:
    if gate.minimum is not None:
        return f"at least {_percent(gate.minimum)}"
    if gate.maximum is not None:
        return f"at most {_percent(gate.maximum)}"
    return f"at most {_percent(gate.max_drop or 0)} may be lost"


def _named(gate: GatePlan) -> str:
    if gate.decided_by is DecidedBy.ESTIMATE:
        return "estimate"
    return "lower end" if gate.minimum is not None else "upper end"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
