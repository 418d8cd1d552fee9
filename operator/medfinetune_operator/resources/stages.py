"""What the stages' pods differ in: who gets GPUs, what they ask for, which volumes they see."""

from __future__ import annotations

from typing import Any

from medfinetune_api.choices import WORK, Stage
from medfinetune_api.spec_pods import ResourceRequirements

from medfinetune_operator.run import Run
from medfinetune_operator.settings import Defaults

COMPUTING = (Stage.TRAIN, Stage.EVALUATE)
"""Stages that load the model."""


def gpus_of(run: Run, stage: Stage) -> int:
    """GPUs of one pod of `stage`; 0 for what needs none, and everywhere on a run without GPUs."""
    assert run.spec is not None
    per_node = run.spec.parallelism.gpus_per_node
    if stage not in COMPUTING:
        return 0
    return per_node if run.is_gang(stage) else min(1, per_node)


def reads_base(run: Run, stage: Stage) -> bool:
    """Whether the pods of `stage` see the base model: all that work, and a release that merges into it."""
    assert run.spec is not None
    return stage in WORK or (stage is Stage.RELEASE and run.spec.output.merge)


def signs(stage: Stage, secret: str) -> bool:
    """Whether the pods of `stage` see the site's key: those that write a lineage, and prepare, which refuses a key that cannot sign before GPUs are queued."""
    return bool(secret) and stage in (Stage.PREPARE, Stage.EVALUATE, Stage.RELEASE)


def resources_of(run: Run, stage: Stage, defaults: Defaults) -> dict[str, Any]:
    """The container's requests and limits, GPUs among the limits."""
    requirements, gpus = _requirements(run, stage), gpus_of(run, stage)
    assert run.spec is not None
    limits = dict(requirements.limits or {}) | ({run.spec.resources.gpu_resource or defaults.gpu_resource: gpus} if gpus else {})
    parts = {"requests": dict(requirements.requests or {}), "limits": limits}
    return {name: part for name, part in parts.items() if part}


def _requirements(run: Run, stage: Stage) -> ResourceRequirements:
    """Evaluate's default to train's. Purge and release take prepare's: a namespace whose quota wants requests and limits has let those pass."""
    assert run.spec is not None
    spec = run.spec.resources
    found = {Stage.TRAIN: spec.train, Stage.EVALUATE: spec.evaluate or spec.train}.get(stage, spec.prepare)
    return found or ResourceRequirements()
