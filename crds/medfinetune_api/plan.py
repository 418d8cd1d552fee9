"""RunPlan: everything a run is told. `resolve()` makes it; the trainer reads it and nothing else.

No field is optional that the trainer needs; no default is decided here. Paths are relative to one of the three mounts, so that the hash of a plan does not
change when a volume is mounted elsewhere.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from medfinetune_api.base import Contract
from medfinetune_api.choices import Retained
from medfinetune_api.layout import RunFolder
from medfinetune_api.plan_data import DataPlan
from medfinetune_api.plan_evaluation import EvaluationPlan
from medfinetune_api.plan_training import CheckpointPlan, ParallelismPlan, TrainingPlan
from medfinetune_api.plan_tuning import TuningPlan
from medfinetune_api.scalars import Folder, Name, RelativePath, RunName, Sha256, Uid


class Identity(Contract):
    """Which object a run belongs to."""

    name: RunName
    """metadata.name."""
    namespace: Name
    """metadata.namespace; `local` where no cluster is involved."""
    uid: Uid
    """metadata.uid; without a cluster, a UUID derived from name and spec."""

    @property
    def folder(self) -> str:
        """Name of the run's folder on the output volume."""
        return f"{self.name}-{self.uid.replace('-', '')[:8]}"


class Mounts(Contract):
    """Where this executor sees the three volumes: absolute folders. Not part of the hash."""

    models: Folder
    """Folder of the base models."""
    data: Folder
    """Folder of the records."""
    output: Folder
    """Folder that holds one folder a run."""


class ModelPlan(Contract):
    """The base model."""

    path: RelativePath
    """Folder relative to `mounts.models`."""
    sha256: Sha256 | None = None
    """Hash that its weights must have; None checks none."""


class OutputPlan(Contract):
    """What stays."""

    retain: Annotated[tuple[Retained, ...], Field(max_length=3)]
    """Working files that stay when the run has ended; the others are purged."""
    merge: bool
    """Whether the adapter is also merged into the 16-bit base."""


class RunPlan(Contract):
    """One run, resolved. Immutable; the hash names everything but the mounts."""

    version: Literal["v1alpha1"] = "v1alpha1"
    """Version of the plan's own form."""
    identity: Identity
    """Whose run it is."""
    mounts: Mounts
    """Where this executor sees the volumes; no part of the hash."""
    model: ModelPlan
    """The base model."""
    data: DataPlan
    """The records, and how they become training rows."""
    tuning: TuningPlan
    """What is trained."""
    training: TrainingPlan
    """The optimization."""
    parallelism: ParallelismPlan
    """The gang that trains."""
    checkpoint: CheckpointPlan
    """What a run that was stopped continues from."""
    evaluation: EvaluationPlan
    """What the run is judged by."""
    output: OutputPlan
    """What stays."""

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON without `mounts`: the same experiment has the same hash wherever its volumes are mounted."""
        body = self.model_dump_json(by_alias=True, exclude_none=True, exclude={"mounts"})
        return hashlib.sha256(body.encode()).hexdigest()

    @property
    def folder(self) -> RunFolder:
        """The run's folder on the output volume, as this executor sees it."""
        return RunFolder(Path(self.mounts.output) / self.identity.folder)

    @property
    def delivered(self) -> tuple[Path, ...]:
        """The folders that a complete run leaves, in the order in which evaluate makes them: what was trained, and what it was merged into."""
        released = self.folder.released(self.tuning.method)
        return (released, self.folder.model) if self.output.merge else (released,)

    @property
    def rows_per_step(self) -> int:
        """Packed rows an optimizer step over all ranks and micro-batches."""
        return self.training.global_batch_tokens // self.data.max_length
