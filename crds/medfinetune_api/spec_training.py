"""What a manifest says about the training itself: schedule, optimizer, batch, gang, checkpoints.

A field that a preset may decide has no default here: absent means the preset's value, or the documented one (`presets.DEFAULTS`).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medfinetune_api import rules_training as rules
from medfinetune_api.base import Contract
from medfinetune_api.choices import Offload, OptimizerType, Precision, Schedule, Sharding, Toggle
from medfinetune_api.ruled import Ruled
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
    MicroBatch,
    Nodes,
    NoiseAlpha,
    Patience,
    Seed,
    WarmupSteps,
)


class SchedulerSpec(Contract):
    """The learning rate's course."""

    type: Schedule | None = None
    """Course after the warm-up: Cosine, Linear or Constant. Default: the preset's, or Cosine."""
    warmup_steps: WarmupSteps | None = None
    """Optimizer steps of linear rise from 0 to the peak, 0 to 1000000. Default: the preset's, or 0."""
    minimum_ratio: Fraction | None = None
    """Floor of the learning rate as a share of its peak, 0 to 1. Default: the preset's, or 0."""


class OptimizerSpec(Contract):
    """AdamW."""

    type: OptimizerType | None = None
    """AdamW; on GPUs also AdamW8bit (states in 8 bits), PagedAdamW and PagedAdamW8bit (states move to the host when GPU memory runs out), which need sharding
    None. Default: the preset's, or AdamW."""
    beta1: Decay | None = None
    """Decay of the gradient's mean, 0 to below 1. Default: the preset's, or 0.9."""
    beta2: Decay | None = None
    """Decay of the squared gradient's mean, 0 to below 1. Default: the preset's, or 0.999."""
    epsilon: Epsilon | None = None
    """Term that keeps the update's denominator from 0; above 0, at most 1. Default: the preset's, or 1e-8."""
    weight_decay: Fraction | None = None
    """Decoupled weight decay, 0 to 1. Default: the preset's, or 0."""
    max_grad_norm: GradNorm | None = None
    """Global norm at which gradients are clipped, 0 to 1000; 0 turns clipping off. Default: the preset's, or 1."""


class GradualUnfreezingSpec(Contract):
    """The last decoder layers train first, the layers before them join later (Howard and Ruder 2018, section 3.3)."""

    layers: Layers = 1
    """Decoder layers that train at first, and that join each time, 1 to 1024. Default 1."""
    every_steps: EverySteps
    """Optimizer steps after which the next layers join, 1 to 1000000."""


class EarlyStoppingSpec(Contract):
    """Training ends before its last step once the validation loss no longer falls."""

    patience: Patience = 3
    """Validations in a row without a lower loss after which training ends, 1 to 1000. Default 3."""
    minimum_delta: LossDelta = 0
    """Nats by which the loss must fall to count as lower, 0 to 1000. Default 0."""
    restore_best: bool = True
    """Whether the adapter is that of the lowest validation loss, not of the last step. Default true."""


class TrainingSpec(Ruled):
    """The optimization."""

    rules = (rules.OFFLOAD_UNIQUE, rules.OFFLOAD_NOT_PAGED)

    epochs: Epochs | None = None
    """Passes over the mixed training data, 1 to 1000. Default: the preset's, or 3."""
    learning_rate: LearningRate | None = None
    """Peak learning rate; above 0, at most 1. Default: the preset's, or 2e-4."""
    scheduler: SchedulerSpec | None = None
    """The learning rate's course."""
    optimizer: OptimizerSpec | None = None
    """AdamW's constants."""
    global_batch_tokens: BatchTokens | None = None
    """Token slots of an optimizer step over all ranks: rows times maxLength, 16 to 1073741824. Default: the preset's, or 8 rows."""
    precision: Precision | None = None
    """Compute type of matrix products: Auto, BF16, FP16 or FP32; adapters and optimizer states stay in fp32. Default: the preset's, or Auto."""
    micro_batch: MicroBatch | None = None
    """Rows in one forward pass of one rank: Auto, or 1 to 4096. Changes memory and speed, and what dropout and noise draw. Default: the preset's, or Auto."""
    activation_checkpointing: Toggle | None = None
    """Whether activations are computed again instead of kept: Auto, Enabled or Disabled. Default: the preset's, or Auto."""
    offload: Annotated[tuple[Offload, ...], Field(max_length=2)] = ()
    """What is kept in the host's memory and brought to the GPU when it is needed: Activations (of the forward pass), Optimizer (its states); slower, the same
    result. Default none."""
    layer_decay: LayerDecay = 1
    """Factor of the learning rate from each decoder layer to the one before it; above 0, at most 1, which gives all layers the same. Default 1."""
    gradual_unfreezing: GradualUnfreezingSpec | None = None
    """Train the last layers first. Default: all from the beginning."""
    neftune_noise_alpha: NoiseAlpha = 0
    """Scale of the noise on the embeddings in training (NEFTune), 0 to 1000, usually 5 to 15; 0 adds none. Default 0."""
    validate_every_steps: EverySteps | None = None
    """Optimizer steps between validations, 1 to 1000000. Default: once at the end of each epoch."""
    early_stopping: EarlyStoppingSpec | None = None
    """When to end before the last step. Default: never."""
    seed: Seed = 0
    """Seed of everything random: split, mixture, order, dropout, adapter; 0 to 2147483647. Default 0."""


class ParallelismSpec(Contract):
    """The gang that trains."""

    nodes: Nodes = 1
    """Pods, one a node, 1 to 256. Default 1."""
    gpus_per_node: Gpus = 1
    """GPUs a pod, one rank each, 0 to 16; 0 trains on the processor, one rank a pod. Default 1."""
    sharding: Sharding | None = None
    """AdaptersOnly (base replicated, adapters and optimizer sharded), Full (all sharded), None (all replicated) or Auto. Default: the preset's, or Auto."""


class CheckpointSpec(Contract):
    """What a run that was stopped continues from."""

    every_steps: EverySteps = 50
    """Optimizer steps between checkpoints, 1 to 1000000. Default 50."""
    keep: Kept = 2
    """Complete checkpoints kept, the newest first, 1 to 100. Default 2."""
