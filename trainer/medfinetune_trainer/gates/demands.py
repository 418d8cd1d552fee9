"""What gates demand of a manifest before anything is trained: that what they look at will be measured, and that the run they compare with is there.

Gates are part of the plan's hash: one that can only fail would cost the whole training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from medfinetune_api.choices import GateMetric
from medfinetune_api.errors import InvalidManifest
from medfinetune_api.layout import RunFolder
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_evaluation import GatePlan
from medfinetune_api.results_evaluation import EvaluationSummary

from medfinetune_trainer.gates.scope import metrics_of, tasks_of, unseen

_WHOLE = (GateMetric.CODE_MIXING,)
"""Told of a task or language alone: no answer keeps it once the samples are purged."""


def refuse_undecidable(plan: RunPlan, subjects: Mapping[str, Iterable[str]]) -> None:
    """Hold the gates of `plan` against what will be asked.

    Args:
        plan: the run.
        subjects: of the questions that each task will ask, by the task's name.

    Raises:
        InvalidManifest: a gate looks at what its tasks do not measure, at a subject that is not asked, or at a run that is not there or was asked otherwise.
    """
    for gate in plan.evaluation.gates:
        _refuse_unmeasured(plan, gate)
        if gate.task is not None and gate.subject is not None and gate.subject not in set(subjects[gate.task]):
            remedy = "Name a subject as the file writes it, or raise the task's limit until one of its questions is drawn."
            raise _refusal(gate, "subject", f"{gate.subject!r}, of which task {gate.task} asks nothing", "a subject that is asked", remedy)
        if gate.against is not None:
            _refuse_other(plan, gate)


def _refuse_unmeasured(plan: RunPlan, gate: GatePlan) -> None:
    place, tasks = (f"task {gate.task}", tasks_of(plan, gate)) if gate.task else (f"no unseen task in {gate.language}", unseen(plan, gate.language))
    measured = list(dict.fromkeys(metric for task in tasks for metric in metrics_of(task) if metric not in _WHOLE or gate.subject is None))
    if gate.metric not in measured:
        named = f"{gate.metric} of a subject" if gate.subject is not None and gate.metric in _WHOLE else f"{gate.metric}"
        found = f"{named}, which {place} {'does not measure' if gate.task else 'measures'}"
        raise _refusal(gate, "metric", found, f"one of {', '.join(measured)}", "Name one of these, or add the metric to the task.")


def _refuse_other(plan: RunPlan, gate: GatePlan) -> None:
    folder = RunFolder(Path(plan.mounts.output) / str(gate.against))
    remedy = "Name the folder of a run on the same output volume that is evaluated: its name and the first eight characters of its uid."
    if gate.against == plan.identity.folder:
        raise _refusal(gate, "against", "this run itself", "another run", remedy)
    other, summary = RunPlan.read(folder.plan), EvaluationSummary.read(folder.summary)
    if other is None or summary is None:
        lacking = "no such folder on the output volume" if not folder.root.is_dir() else "a run that is not evaluated"
        raise _refusal(gate, "against", f"{gate.against}, {lacking}", "a run that is evaluated", remedy)
    mine, theirs = _asked(plan, gate), _asked(other, gate)
    if not theirs:
        raise _refusal(gate, "against", f"{gate.against}, which asks nothing of the kind", f"a run that asks {', '.join(sorted(mine))}", remedy)
    if differing := sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)):
        found = f"{gate.against}, which asks {', '.join(differing)[:200]} otherwise, or not at all"
        raise _refusal(gate, "against", found, "the same tasks: path, format, limit, scoring and metrics", "Compare with a run that asks the same.")


def _asked(plan: RunPlan, gate: GatePlan) -> dict[str, object]:
    """How a plan asks the tasks that a gate looks at, by name: equal where the same questions are asked alike."""
    return {task.name: (task.model_copy(update={"seen": False}), plan.training.seed if task.limit else None) for task in tasks_of(plan, gate)}


def _refusal(gate: GatePlan, field: str, found: str, expected: str, remedy: str) -> InvalidManifest:
    return InvalidManifest(f"spec.evaluation.gates[{gate.name}].{field}", found=found, expected=expected, remedy=remedy)
