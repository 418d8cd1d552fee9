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
from medfinetune_api.choices import (
    AnswerStyle,
    ChatTemplate,
    Format,
    LossOn,
    Method,
    MixBy,
    MixFill,
    MixUnit,
    Offload,
    OptimizerType,
    Overlong,
    Packing,
    Placement,
    Precision,
    Quantization,
    Retained,
    Schedule,
    Sharding,
    Toggle,
)
from medfinetune_api.layout import RunFolder
from medfinetune_api.scalars import (
    ENTRIES,
    AdapterScale,
    Alpha,
    BatchSize,
    BatchTokens,
    BottleneckSize,
    ColumnName,
    Decay,
    Epochs,
    Epsilon,
    EverySteps,
    Folder,
    Fraction,
    Gpus,
    GradNorm,
    HeldOut,
    Kept,
    Label,
    LanguageTag,
    LayerDecay,
    Layers,
    LearningRate,
    Limit,
    LossDelta,
    MemoryBytes,
    MicroBatch,
    Name,
    Nodes,
    NoiseAlpha,
    OptionColumns,
    Patience,
    Rank,
    RateRatio,
    Ratio,
    RelativePath,
    RowLength,
    RunName,
    Seed,
    Sha256,
    Strata,
    TargetModules,
    Uid,
    VirtualTokens,
    WarmupSteps,
)


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


class ColumnsPlan(Contract):
    """Where an `Exam` file keeps what. `options` is one column that holds a list or an object, or one column an option."""

    question: ColumnName
    """Column of the question's text."""
    options: OptionColumns
    """Columns of the options, in the order of their letters."""
    answer: ColumnName
    """Column of the right answer."""
    answer_style: AnswerStyle
    """How the answer is written."""
    subject: ColumnName | None = None
    """Column of the subject; None where the file has none."""
    id: ColumnName | None = None
    """Column of the record's identifier; None counts by line."""


class SourcePlan(Contract):
    """One file of records."""

    name: Name
    """Unique among the sources."""
    path: RelativePath
    """File relative to `mounts.data`; `.gz` is decompressed."""
    format: Format
    """How the file is laid out."""
    language: LanguageTag
    """BCP 47 language tag."""
    domain: Label
    """What a mixture by Domain counts it under."""
    subject: Label | None = None
    """Subject of every record, where the file names none."""
    columns: ColumnsPlan | None = None
    """Of an `Exam` file; None for the other formats."""


class ValidationPlan(Contract):
    """The records that are never trained on."""

    fraction: HeldOut
    """Share of the records of `sources` held out, 0 to 0.5; 0 where `sources` is given."""
    stratify_by: Strata
    """What the held-out share keeps in proportion."""
    sources: Annotated[tuple[SourcePlan, ...], Field(max_length=ENTRIES)]
    """Files to validate on; empty where a fraction is held out."""


class MixturePlan(Contract):
    """In what proportion the sources are trained on."""

    by: MixBy
    """What the ratio's names are."""
    ratio: Ratio
    """Parts by name; names every group of the sources and no other."""
    unit: MixUnit
    """What the ratio counts."""
    fill: MixFill
    """How the ratio is reached."""


class DataPlan(Contract):
    """The records, and how they become training rows."""

    sources: Annotated[tuple[SourcePlan, ...], Field(max_length=ENTRIES)]
    """Files to train on."""
    validation: ValidationPlan
    """What is held out."""
    mixture: MixturePlan | None = None
    """None trains on every record once an epoch."""
    max_length: RowLength
    """Length of a packed row in tokens."""
    packing: Packing
    """How documents share rows."""
    loss_on: LossOn
    """Which tokens carry loss."""
    overlong: Overlong
    """What becomes of a record longer than `max_length`."""
    chat_template: ChatTemplate
    """Which template turns messages into text."""


class LoraPlan(Contract):
    """The low-rank adapter: W = W_frozen + (alpha / rank) A B^T."""

    rank: Rank
    """Rank of the adapter matrices."""
    alpha: Alpha
    """Scale of the adapter, divided by the rank."""
    dropout: Decay
    """Share of the adapter's inputs dropped in training, 0 to below 1."""
    target_modules: Literal["all-linear"] | TargetModules
    """Linear layers that get an adapter: names, or each but the head."""
    use_rslora: bool
    """Whether alpha is divided by the square root of the rank."""
    use_dora: bool
    """Whether magnitudes are trained apart from directions."""
    loraplus_lr_ratio: RateRatio
    """Learning rate of B as a multiple of A's."""


class PrefixPlan(Contract):
    """Trained keys and values before every document, in each layer."""

    num_virtual_tokens: VirtualTokens
    """Length of the prefix."""


class BottleneckPlan(Contract):
    """A network down to `size` and up again, at both sublayers of each decoder layer."""

    size: BottleneckSize
    """Width of the bottleneck."""
    placement: Placement
    """On the sublayer's output, or beside the sublayer."""
    scale: AdapterScale
    """Factor of what the adapter adds."""
    dropout: Decay
    """Share of the bottleneck's activations dropped in training."""


class InitialAdapterPlan(Contract):
    """The adapter that training starts from."""

    path: RelativePath
    """Folder relative to `mounts.models`."""
    sha256: Sha256 | None = None
    """Hash that its weights file must have; None checks none."""


class TuningPlan(Contract):
    """What is trained, and how the base is kept meanwhile. Of the three shapes, exactly the method's own is set; none under Full."""

    method: Method
    """What is trained."""
    quantization: Quantization
    """How the base is kept."""
    lora: LoraPlan | None = None
    """The low-rank adapter, under QLoRA and LoRA."""
    prefix: PrefixPlan | None = None
    """The prefix, under PrefixTuning."""
    bottleneck: BottleneckPlan | None = None
    """The bottleneck adapter, under Bottleneck."""
    initial_adapter: InitialAdapterPlan | None = None
    """Where training starts; None starts with a new adapter."""


class SchedulerPlan(Contract):
    """The learning rate's course."""

    type: Schedule
    """Course after the warm-up."""
    warmup_steps: WarmupSteps
    """Optimizer steps of linear rise from 0 to the peak."""
    minimum_ratio: Fraction
    """Floor of the learning rate as a share of its peak."""


class OptimizerPlan(Contract):
    """AdamW."""

    type: OptimizerType
    """Which AdamW."""
    beta1: Decay
    """Decay of the gradient's mean."""
    beta2: Decay
    """Decay of the squared gradient's mean."""
    epsilon: Epsilon
    """Term that keeps the update's denominator from 0."""
    weight_decay: Fraction
    """Decoupled weight decay."""
    max_grad_norm: GradNorm
    """Global norm at which gradients are clipped; 0 turns clipping off."""


class GradualUnfreezingPlan(Contract):
    """The last decoder layers train first, the layers before them join later."""

    layers: Layers
    """Decoder layers that train at first, and that join each time."""
    every_steps: EverySteps
    """Optimizer steps after which the next layers join."""


class EarlyStoppingPlan(Contract):
    """Training ends before its last step once the validation loss no longer falls."""

    patience: Patience
    """Validations in a row without a lower loss after which training ends."""
    minimum_delta: LossDelta
    """Nats by which the loss must fall to count as lower."""
    restore_best: bool
    """Whether the adapter is that of the lowest validation loss."""


class TrainingPlan(Contract):
    """The optimization."""

    epochs: Epochs
    """Passes over the mixed training data."""
    learning_rate: LearningRate
    """Peak learning rate."""
    scheduler: SchedulerPlan
    """The learning rate's course."""
    optimizer: OptimizerPlan
    """AdamW's constants."""
    global_batch_tokens: BatchTokens
    """Slots an optimizer step: rows x max_length, a multiple of max_length."""
    precision: Precision
    """Compute type of matrix products."""
    micro_batch: MicroBatch
    """Rows in one forward pass of one rank."""
    activation_checkpointing: Toggle
    """Whether activations are computed again instead of kept."""
    offload: Annotated[tuple[Offload, ...], Field(max_length=2)]
    """What is kept in the host's memory."""
    layer_decay: LayerDecay
    """Factor of the learning rate from each decoder layer to the one before it."""
    gradual_unfreezing: GradualUnfreezingPlan | None = None
    """None trains all layers from the beginning."""
    neftune_noise_alpha: NoiseAlpha
    """Scale of the noise on the embeddings; 0 adds none."""
    validate_every_steps: EverySteps | None = None
    """Optimizer steps between validations; None validates at the end of each epoch."""
    early_stopping: EarlyStoppingPlan | None = None
    """None trains to the last step."""
    seed: Seed
    """Seed of everything random."""


class ParallelismPlan(Contract):
    """The gang that trains."""

    nodes: Nodes
    """Machines, or pods, one agent each."""
    gpus_per_node: Gpus
    """0 trains on the CPU, one process a node."""
    sharding: Sharding
    """How parameters are spread over the ranks."""
    gpu_memory: MemoryBytes | None = None
    """Memory of one GPU in bytes, as the manifest names it; None where it is not known before a GPU is there."""
    gpu_memory_headroom: Decay
    """Share of `gpu_memory` that the plan leaves free."""

    @property
    def processes_per_node(self) -> int:
        """Ranks on one node: one a GPU, or a single one on the CPU."""
        return max(1, self.gpus_per_node)

    @property
    def world_size(self) -> int:
        """Ranks of the whole gang."""
        return self.nodes * self.processes_per_node


class CheckpointPlan(Contract):
    """What a run that was stopped continues from."""

    every_steps: EverySteps
    """Optimizer steps between checkpoints."""
    keep: Kept
    """Complete checkpoints kept, the newest first."""


class TaskPlan(Contract):
    """One examination."""

    name: Name
    """Unique among the tasks."""
    path: RelativePath
    """File relative to `mounts.data`; `.gz` is decompressed."""
    format: Format
    """How the file is laid out; its questions have options."""
    language: LanguageTag
    """BCP 47 language tag."""
    subject: Label | None = None
    """Subject of every question, where the file names none."""
    columns: ColumnsPlan | None = None
    """Of an `Exam` file; None for the other formats."""
    limit: Limit | None = None
    """Most questions asked, drawn by seed and in proportion to the subjects; None asks all."""
    seen: bool
    """Whether these questions are trained on: their accuracy is in no language's."""


class EvaluationPlan(Contract):
    """What the run is judged by."""

    baseline: bool
    """Whether the untuned base answers the same questions."""
    batch_size: BatchSize
    """Questions in one forward pass."""
    tasks: Annotated[tuple[TaskPlan, ...], Field(max_length=ENTRIES)]
    """Examinations; without any, the adapter is delivered unjudged."""


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
