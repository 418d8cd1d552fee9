"""What is there for a moment, in bytes: gradients of activations, a dequantised weight, gathered weights, 16-bit copies of fp32 masters."""

from __future__ import annotations

from medfinetune_api.choices import Offload, Quantization, Sharding

from medfinetune_trainer.memory.activations import FP32, mask_bytes, stream_bytes, widened
from medfinetune_trainer.memory.frozen import frozen
from medfinetune_trainer.memory.job import Job, Setting
from medfinetune_trainer.memory.shape import ModelShape
from medfinetune_trainer.memory.trained import Trained, targets

GATHERED = 2
"""Layers that `fully_shard` has whole at once in the backward pass: the one that runs, and the flat buffer in which the next arrives ahead of its turn."""


def gradient_bytes(shape: ModelShape, job: Job, setting: Setting) -> float:
    """Where the backward pass begins, the largest of three moments, less what of the kept is free by then:

    - five fp32 values of the width of the last norm;
    - in the last network the gradients of its product and of both halves, and of the stream (free: later norms);
    - there, a little later, the gradients of two halves with a dequantised weight. LoRA on the projection down has a third of its own and has freed its inputs.

    Where what is kept lies on the host, nothing of it is there to be freed.
    """
    tokens, norm = job.row_tokens * setting.micro_batch, 5 * FP32 * shape.hidden
    half = (FP32 if widened(job) else job.compute_bytes) * shape.intermediate
    stream = (stream_bytes(job, setting.sharding) - FP32 * shape.norms // 2) * shape.hidden
    if fetches(job, setting):
        return tokens * max(norm, 3 * half + stream_bytes(job, setting.sharding) * shape.hidden)
    freed = mask_bytes(job) * shape.intermediate if job.tuning.lora and job.tuning.lora.dropout and not widened(job) and _adapts_down(shape, job) else 0
    product = 2 if _adapts_down(shape, job) else 3
    return max(tokens * norm, tokens * (product * half - freed + stream), tokens * (2 * half - freed + stream) + _dequantised(shape, job))


def fetches(job: Job, setting: Setting) -> bool:
    """Whether the backward pass fetches what is kept from the host, operator by operator. A layer that is computed again stays on the accelerator."""
    return Offload.ACTIVATIONS in job.offload and not setting.checkpointing


def fetched_bytes(shape: ModelShape, job: Job, setting: Setting) -> int:
    """What the operator that takes the most has fetched: both halves of a network, for their product's gradient."""
    return 2 * (FP32 if widened(job) else job.compute_bytes) * shape.intermediate * job.row_tokens * setting.micro_batch


def _adapts_down(shape: ModelShape, job: Job) -> bool:
    """Whether the projection down keeps its input, which the gradient of that input then takes the place of."""
    return job.trains_base or (job.tuning.lora is not None and "down_proj" in targets(shape, job.tuning.lora))


def _dequantised(shape: ModelShape, job: Job) -> int:
    """The largest weight in the compute type."""
    if job.tuning.quantization is not Quantization.NF4:
        return 0
    largest = max(linear.weights for linear in shape.linears.values())
    return job.compute_bytes * largest


def gathered_bytes(shape: ModelShape, job: Job, setting: Setting, trained: Trained) -> float:
    """Whole weights on this rank beside its share: a few layers, and of what is trained the ends too, through the whole pass. Frozen ends count to the base."""
    if setting.sharding is Sharding.NONE:
        return 0
    base = frozen(shape, job).layer if setting.sharding is Sharding.FULL else 0
    layer = sum(trained.layer) * job.compute_bytes + base
    ends = (sum(trained.ends) + sum(trained.outside)) * job.compute_bytes
    return GATHERED * layer + ends


def cache_bytes(shape: ModelShape, job: Job, setting: Setting) -> int:
    """Keys and values of all layers, which the cache that hands the prefix to the model holds until the forward pass is over."""
    if job.tuning.prefix is None:
        return 0
    positions = setting.micro_batch * (job.row_tokens + job.tuning.prefix.num_virtual_tokens)
    return 2 * shape.layers * shape.keys * job.compute_bytes * positions


def cast_bytes(shape: ModelShape, job: Job, setting: Setting, trained: Trained) -> int:
    """Copies of fp32 masters in the compute type, which autocast makes where nothing is sharded; with checkpointing one layer's."""
    if setting.sharding is not Sharding.NONE or job.compute_bytes == FP32:
        return 0
    layers = 1 if setting.checkpointing else shape.layers
    return job.compute_bytes * (layers * sum(trained.layer) + sum(trained.ends))
