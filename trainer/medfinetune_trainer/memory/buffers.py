"""What is there for a moment, in bytes: gradients of activations, a dequantised weight, gathered weights, 16-bit copies of fp32 masters."""

from __future__ import annotations

from medfinetune_api.choices import Quantization, Sharding

from medfinetune_trainer.memory.activations import FP32, mask_bytes, stream_bytes, widened
from medfinetune_trainer.memory.frozen import frozen
from medfinetune_trainer.memory.job import Job, Setting
from medfinetune_trainer.memory.shape import ModelShape
from medfinetune_trainer.memory.trained import Trained, targets

GATHERED = 3
"""Layers that `fully_shard` has whole at once: the one that runs, the next, which is fetched ahead, and the flat buffer that it arrives in."""


def gradient_bytes(shape: ModelShape, job: Job, setting: Setting) -> float:
    """Where the backward pass begins, the larger of two moments: five fp32 values of the width of the last norm; or in the last network the gradients of two
    halves and of the stream, with a dequantised weight, less what of the kept is free by then (later norms; LoRA's own inputs of the last projection).
    """
    tokens, lora = job.row_tokens * setting.micro_batch, job.tuning.lora
    norm = 5 * FP32 * shape.hidden
    number = FP32 if widened(job) else job.compute_bytes
    network = 2 * number * shape.intermediate + (stream_bytes(job, setting.sharding) - FP32 * shape.norms // 2) * shape.hidden
    if lora and lora.dropout and not widened(job) and "down_proj" in targets(shape, lora):
        network -= mask_bytes(job) * shape.intermediate
    return max(tokens * norm, tokens * network + _dequantised(shape, job))


def _dequantised(shape: ModelShape, job: Job) -> int:
    """The largest weight in the compute type; under DoRA also the adapter's product, and an identity of the layer's inputs, by which PEFT computes it."""
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
    return GATHERED * layer + ends + FP32 * sum(trained.layer)


def cast_bytes(shape: ModelShape, job: Job, setting: Setting, trained: Trained) -> int:
    """Copies of fp32 masters in the compute type, which autocast makes where nothing is sharded; with checkpointing one layer's."""
    if setting.sharding is not Sharding.NONE or job.compute_bytes == FP32:
        return 0
    layers = 1 if setting.checkpointing else shape.layers
    return job.compute_bytes * (layers * sum(trained.layer) + sum(trained.ends))


def dora_bytes(shape: ModelShape, job: Job, setting: Setting) -> int:
    """Dequantised weights that DoRA's product keeps for the backward pass where dropout is on: PEFT then multiplies by the weight itself."""
    lora = job.tuning.lora
    if lora is None or not lora.use_dora or not lora.dropout or job.tuning.quantization is not Quantization.NF4:
        return 0
    layers = 1 if setting.checkpointing else shape.layers
    return layers * job.compute_bytes * sum(shape.linears[name].weights for name in targets(shape, lora))
