"""What a manifest says about the training itself: method, schedule, optimizer, batch, gang, checkpoints.

A field that a preset may decide has no default here: absent means the preset's value, or the documented one (`presets.DEFAULTS`).
"""

from __future__ import annotations

from medfinetune_api import rules
from medfinetune_api.base import Contract
from medfinetune_api.choices import Method, Precision, Schedule, Sharding, Toggle
from medfinetune_api.ruled import Ruled
from medfinetune_api.scalars import (
    Alpha,
    BatchTokens,
    Decay,
    Epochs,
    Epsilon,
    EverySteps,
    Fraction,
    Gpus,
    GradNorm,
    Kept,
    LearningRate,
    MicroBatch,
    Nodes,
    Rank,
    Seed,
    TargetModules,
    WarmupSteps,
)


class LoraSpec(Ruled):
    """The low-rank adapter: W = W_frozen + (alpha / rank) A B^T."""

    rules = (rules.ALL_LINEAR_ALONE, rules.TARGETS_UNIQUE)

    rank: Rank | None = None
    """Rank of the adapter matrices, 1 to 1024. Default: the preset's, or 16."""
    alpha: Alpha | None = None
    """Scale of the adapter, divided by the rank; above 0, at most 4096. Default: the preset's, or 64."""
    dropout: Decay | None = None
    """Share of the adapter's inputs dropped in training, 0 to below 1. Default: the preset's, or 0.05."""
    target_modules: TargetModules | None = None
    """Linear layers that get an adapter, by name (q_proj), or [all-linear] for each but the head; 1 to 64. Default: the preset's, or [all-linear]."""


class TuningSpec(Ruled):
    """What is trained, and how the base is kept meanwhile."""

    rules = (rules.LORA_WITH_METHOD,)

    method: Method | None = None
    """QLoRA (adapter on a 4-bit base), LoRA (on a 16-bit base) or Full (every weight; refused by this version). Default: the preset's, or QLoRA."""
    lora: LoraSpec | None = None
    """The adapter; with method QLoRA or LoRA only."""


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


class TrainingSpec(Contract):
    """The optimization."""

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
    """Rows in one forward pass of one rank: Auto, or 1 to 4096. Changes memory and speed, not the result. Default: the preset's, or Auto."""
    activation_checkpointing: Toggle | None = None
    """Whether activations are computed again instead of kept: Auto, Enabled or Disabled. Default: the preset's, or Auto."""
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
