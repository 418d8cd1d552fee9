"""RunPlan's part on the optimization, the gang that does it, and what a run that was stopped continues from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medfinetune_api.base import Contract
from medfinetune_api.choices import Offload, OptimizerType, Precision, Schedule, Sharding, Toggle
from medfinetune_api.scalars import (
    BatchTokens,
    Decay,
    Epochs,
    Epsilon,
    EverySteps,
    Fraction,
    Gpus,
    GradNorm,
    Kept,
    LayerDecay,
    Layers,
    LearningRate,
    LossDelta,
    MemoryBytes,
    MicroBatch,
    Nodes,
    NoiseAlpha,
    Patience,
    Seed,
    WarmupSteps,
)


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
