"""RunPlan: everything a run is told. `resolve()` makes it; the trainer reads it and nothing else.

No field is optional that the trainer needs; no default is decided here. Paths are relative to one of the three mounts, so that the hash of a plan does not change when
a volume is mounted elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from medfinetune_api.base import Contract
from medfinetune_api.choices import (
    AnswerStyle,
    ChatTemplate,
    Format,
    LossOn,
    Method,
    MixBy,
    MixFill,
    MixUnit,
    Overlong,
    Packing,
    Precision,
    Schedule,
    Sharding,
    Stratum,
    Toggle,
)
from medfinetune_api.layout import RunFolder


class Identity(Contract):
    """Which object a run belongs to."""

    name: str
    """metadata.name."""
    namespace: str
    """metadata.namespace; `local` where no cluster is involved."""
    uid: str
    """metadata.uid; without a cluster, a UUID derived from name and spec."""

    @property
    def folder(self) -> str:
        """Name of the run's folder on the output volume."""
        return f"{self.name}-{self.uid.replace('-', '')[:8]}"


class Mounts(Contract):
    """Where this executor sees the three volumes: absolute folders. Not part of the hash."""

    models: str
    data: str
    output: str


class ModelPlan(Contract):
    path: str
    """Folder relative to `mounts.models`."""
    sha256: str | None = None


class ColumnsPlan(Contract):
    """Where an `Exam` file keeps what. `options` is one column that holds a list or an object, or one column an option."""

    question: str
    options: tuple[str, ...]
    answer: str
    answer_style: AnswerStyle
    subject: str | None = None
    id: str | None = None


class SourcePlan(Contract):
    name: str
    path: str
    """File relative to `mounts.data`; `.gz` is decompressed."""
    format: Format
    language: str
    """BCP 47 language tag."""
    domain: str
    subject: str | None = None
    """Subject of every record, where the file names none."""
    columns: ColumnsPlan | None = None


class ValidationPlan(Contract):
    fraction: float
    """Share of the records of `sources` held out, 0 to 0.5; 0 where `sources` is given."""
    stratify_by: tuple[Stratum, ...]
    sources: tuple[SourcePlan, ...]


class MixturePlan(Contract):
    by: MixBy
    ratio: Mapping[str, float]
    unit: MixUnit
    fill: MixFill


class DataPlan(Contract):
    sources: tuple[SourcePlan, ...]
    validation: ValidationPlan
    mixture: MixturePlan | None = None
    max_length: int
    packing: Packing
    loss_on: LossOn
    overlong: Overlong
    chat_template: ChatTemplate


class LoraPlan(Contract):
    rank: int
    alpha: float
    dropout: float
    target_modules: Literal["all-linear"] | tuple[str, ...]


class TuningPlan(Contract):
    method: Method
    lora: LoraPlan


class SchedulerPlan(Contract):
    type: Schedule
    warmup_steps: int
    minimum_ratio: float
    """Floor of the learning rate as a share of its peak."""


class OptimizerPlan(Contract):
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    max_grad_norm: float
    """Global norm at which gradients are clipped; 0 turns clipping off."""


class TrainingPlan(Contract):
    epochs: int
    learning_rate: float
    scheduler: SchedulerPlan
    optimizer: OptimizerPlan
    global_batch_tokens: int
    """Slots an optimizer step: rows x max_length, a multiple of max_length."""
    precision: Precision
    micro_batch: Literal["Auto"] | int
    """Rows in one forward pass of one rank."""
    activation_checkpointing: Toggle
    seed: int


class ParallelismPlan(Contract):
    nodes: int
    gpus_per_node: int
    """0 trains on the CPU, one process a node."""
    sharding: Sharding

    @property
    def processes_per_node(self) -> int:
        """Ranks on one node: one a GPU, or a single one on the CPU."""
        return max(1, self.gpus_per_node)

    @property
    def world_size(self) -> int:
        """Ranks of the whole gang."""
        return self.nodes * self.processes_per_node


class CheckpointPlan(Contract):
    every_steps: int
    keep: int


class TaskPlan(Contract):
    name: str
    path: str
    format: Format
    language: str
    subject: str | None = None
    columns: ColumnsPlan | None = None
    limit: int | None = None
    """Most questions asked, drawn by seed and in proportion to the subjects; None asks all."""


class EvaluationPlan(Contract):
    baseline: bool
    batch_size: int
    """Questions in one forward pass."""
    tasks: tuple[TaskPlan, ...]


class RunPlan(Contract):
    """One run, resolved. Immutable; the hash names everything but the mounts."""

    version: Literal["v1alpha1"] = "v1alpha1"
    identity: Identity
    mounts: Mounts
    model: ModelPlan
    data: DataPlan
    tuning: TuningPlan
    training: TrainingPlan
    parallelism: ParallelismPlan
    checkpoint: CheckpointPlan
    evaluation: EvaluationPlan

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
    def rows_per_step(self) -> int:
        """Packed rows an optimizer step over all ranks and micro-batches."""
        return self.training.global_batch_tokens // self.data.max_length
