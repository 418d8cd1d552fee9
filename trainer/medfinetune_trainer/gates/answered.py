"""What the summary does not tell and a gate looks at, from the answers that are kept: a language or subject by any metric, and the run beside another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from medfinetune_api.choices import GateMetric
from medfinetune_api.errors import OutputConflict
from medfinetune_api.layout import RunFolder
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_evaluation import GatePlan
from medfinetune_api.results_evaluation import Comparison

from medfinetune_trainer.evaluation.answers import Answer, once, paired, read_answers
from medfinetune_trainer.evaluation.calibration import calibration
from medfinetune_trainer.evaluation.comparison import compare, compare_means, mean
from medfinetune_trainer.gates.measurement import Measurement, NotMeasured
from medfinetune_trainer.gates.scope import tasks_of

Pairs = Sequence[tuple[Answer, Answer]]


def level(plan: RunPlan, gate: GatePlan) -> Measurement:
    """A figure of the tuned model over the gate's language or subject. Raises NotMeasured."""
    asked = once((_read(plan.folder, "tuned", task.name) for task in tasks_of(plan, gate)), lambda answer: answer.question)
    answers = [answer for answer in asked if _looked_at(gate, answer)]
    seed = plan.training.seed
    if gate.metric is GateMetric.CALIBRATION_ERROR:
        sure = [(answer.confidence, bool(answer.right)) for answer in answers if answer.confidence is not None]
        found = calibration([confident for confident, _ in sure], [right for _, right in sure], seed) if sure else None
        if found:
            return Measurement(len(sure), found.error, found.low, found.high, bootstrapped=True)
    elif values := [answer.measured[gate.metric] for answer in answers if gate.metric in answer.measured]:
        return Measurement.of(mean(values, seed))
    raise NotMeasured(f"no answer there has {gate.metric}")


def against_base(plan: RunPlan, gate: GatePlan) -> Comparison:
    """The tuned model against the base. Raises NotMeasured."""
    pairs = (paired(_read(plan.folder, "base", task.name), _read(plan.folder, "tuned", task.name)) for task in tasks_of(plan, gate))
    return _compared(plan, gate, pairs, "base and tuned model")


def against_run(plan: RunPlan, gate: GatePlan) -> Comparison:
    """The tuned model against that of another run, question by question. Raises NotMeasured."""
    other = RunFolder(Path(plan.mounts.output) / str(gate.against))
    pairs = (_same(plan.folder, other, task.name) for task in tasks_of(plan, gate))
    return _compared(plan, gate, pairs, f"this run and {gate.against}")


def _compared(plan: RunPlan, gate: GatePlan, tasks: Iterable[Pairs], whose: str) -> Comparison:
    looked_at = [pair for pair in once(tasks, lambda pair: pair[1].question) if _looked_at(gate, pair[1])]
    if gate.metric is GateMetric.ACCURACY:
        if not looked_at:
            raise NotMeasured(f"{whose} have no answers in common there")
        return compare([bool(then.right) for then, _ in looked_at], [bool(now.right) for _, now in looked_at], plan.training.seed)
    values = [(then.measured.get(gate.metric), now.measured.get(gate.metric)) for then, now in looked_at]
    both = [(then, now) for then, now in values if then is not None and now is not None]
    if not both or len(both) < sum(then is not None or now is not None for then, now in values):
        raise NotMeasured(f"{gate.metric} does not measure the same answers of {whose} there")
    return compare_means([then for then, _ in both], [now for _, now in both], plan.training.seed)


def _same(folder: RunFolder, other: RunFolder, task: str) -> list[tuple[Answer, Answer]]:
    """The answers of two runs to a task, of which both were asked the same questions."""
    before, after = _read(other, "tuned", task), _read(folder, "tuned", task)
    pairs = paired(before, after)
    if not len(pairs) == len(before) == len(after):
        raise NotMeasured(f"{other.root.name} was asked other questions in task {task}: {len(before)}, of {len(after)} here {len(pairs)} the same")
    return pairs


def _read(folder: RunFolder, variant: str, task: str) -> list[Answer]:
    try:
        return read_answers(folder, variant, task)
    except OutputConflict as conflict:
        raise NotMeasured(f"{folder.root.name} keeps no answers to task {task} that can be read") from conflict


def _looked_at(gate: GatePlan, answer: Answer) -> bool:
    return gate.subject is None or answer.subject == gate.subject
