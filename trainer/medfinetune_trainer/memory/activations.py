"""What autograd keeps of a forward pass until the backward pass, in bytes a token: read off this trainer's modules, operation by operation, and checked against
measured peaks (tests/trainer/test_memory_measured.py).

Kept are: of a norm its input in fp32; of a gated network its gate before and after the activation and its other half; of attention query, key and value with
key-value heads repeated, output and one fp32 log-sum a head (no scores: varlen attention and SDPA compute them again); of LoRA the input of A, which is each
adapter's own where dropout is on, with its mask, and shared by projections of the same input where it is off; of a trained linear layer its input. A frozen
linear layer keeps nothing: the gradient of its input needs its weight alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from medfinetune_api.choices import Sharding

from medfinetune_trainer.memory.job import Job
from medfinetune_trainer.memory.shape import ModelShape
from medfinetune_trainer.memory.trained import targets

FP32 = 4
_SHARED_INPUTS = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))
"""Projections that read the same tensor."""


@dataclass(frozen=True)
class Kept:
    """Bytes a token."""

    layer: float
    """One decoder layer's, but for its input."""
    unkept: float
    """What the first layer does not keep of it, since nothing before is trained that would want a gradient."""
    layer_input: int
    """The hidden states that a layer is given: all that activation checkpointing keeps of it."""
    last_norm: int
    """The norm after the last layer."""
    angles: int
    """Rotary angles, shared by all layers."""


def kept(shape: ModelShape, job: Job, sharding: Sharding) -> Kept:
    """What is kept of one token."""
    stream = stream_bytes(job, sharding)
    hidden_norm = _norm(shape, shape.hidden, 1, job.trains_base, stream)
    head_norms = _head_norms(shape, job)
    attention = (4 * shape.queries + 2 * shape.queries * _prefix(job)) * job.compute_bytes + FP32 * shape.heads + _mask_row(job)
    network = 3 * shape.intermediate * job.compute_bytes
    layer = shape.norms * hidden_norm + head_norms + attention + network + _inputs(shape, job, stream) + _bottlenecks(shape, job)
    rotary = 2 * shape.head_size * job.compute_bytes * (2 if shape.gemma else 1)
    unkept = 0 if job.trains_base else hidden_norm + _before_first_adapter(shape, job, head_norms, attention)
    return Kept(layer, unkept, stream * shape.hidden, hidden_norm, rotary)


def _before_first_adapter(shape: ModelShape, job: Job, head_norms: int, attention: float) -> float:
    """What else of the first layer wants no gradient: dropout of its input, whose masks are then not kept; norms of queries and keys that only a prefix
    follows; all of attention where what is trained comes after it.
    """
    lora = job.tuning.lora
    if lora is None:
        return head_norms + (attention if job.tuning.bottleneck else 0)
    first = targets(shape, lora) & set(_SHARED_INPUTS[0])
    return mask_bytes(job) * len(first) * shape.hidden * bool(lora.dropout) if first else head_norms + attention


def _prefix(job: Job) -> float:
    """Keys and values of a prefix, as a share of a row's own: each row is one document, and puts it before them."""
    return job.tuning.prefix.num_virtual_tokens / job.row_tokens if job.tuning.prefix else 0.0


def _mask_row(job: Job) -> float:
    """A token's row of the mask by which the CPU's attention lets a document see a prefix; varlen attention needs none."""
    return job.compute_bytes * job.row_tokens * (1 + _prefix(job)) if job.tuning.prefix and not job.cuda else 0


def stream_bytes(job: Job, sharding: Sharding) -> int:
    """Of one number of the hidden states: an fp32 embedding under autocast (Full, not sharded) makes them fp32."""
    return FP32 if job.trains_base and sharding is Sharding.NONE else job.compute_bytes


def mask_bytes(job: Job) -> int:
    """Of one number of a dropout mask: CUDA's kernel writes a boolean, the CPU's a factor in fp32."""
    return 1 if job.cuda else FP32


def _norm(shape: ModelShape, width: int, rows: int, is_trained: bool, number: int) -> int:
    """RMSNorm of `rows` vectors a token, together `width` wide; its output is what the next layer keeps or not."""
    scaled = (FP32 if shape.gemma else number) * width if is_trained else 0
    return FP32 * width + FP32 * rows + scaled


def _head_norms(shape: ModelShape, job: Job) -> int:
    """Norms of queries and keys, where there are any."""
    if not shape.head_norms:
        return 0
    queries = _norm(shape, shape.queries, shape.heads, job.trains_base, job.compute_bytes)
    return queries + _norm(shape, shape.keys, shape.key_value_heads, job.trains_base, job.compute_bytes)


def _inputs(shape: ModelShape, job: Job, stream: int) -> int:
    """Inputs of linear layers that are trained, or have an adapter."""
    lora, number, linears = job.tuning.lora, job.compute_bytes, shape.linears
    adapted = targets(shape, lora) if lora else frozenset(linears) if job.trains_base else frozenset()
    if lora and lora.dropout:
        own = sum((mask_bytes(job) + number) * linears[name].inputs for name in adapted)
    else:
        own = sum(number * linears[group[0]].inputs * _copies(group, adapted, job, stream) for group in _SHARED_INPUTS)
    ranks = len(adapted) * lora.rank * number if lora else 0
    magnitudes = 2 * number * sum(linears[name].outputs for name in adapted) if lora and lora.use_dora else 0
    return own + ranks + magnitudes


def _copies(group: tuple[str, ...], adapted: frozenset[str], job: Job, stream: int) -> int:
    """How often the input of `group` is kept: once, but each reader's own where fp32 is made 16 bits for it; attention keeps its output on CUDA anyway."""
    readers = len(adapted & set(group))
    if group == ("o_proj",) and job.cuda and job.compute_bytes == 2:
        return 0
    reads_stream = group not in (("o_proj",), ("down_proj",))
    return readers if widened(job) or (reads_stream and stream != job.compute_bytes) else min(1, readers)


def widened(job: Job) -> bool:
    """Whether adapters are fed in fp32, and make it 16 bits again: PEFT asks for CUDA's autocast, and takes the CPU's for none."""
    return job.tuning.lora is not None and job.compute_bytes == 2 and not job.cuda


def _bottlenecks(shape: ModelShape, job: Job) -> int:
    """At both sublayers: the adapter's input, and its inner states before and after dropout."""
    if job.tuning.bottleneck is None:
        return 0
    inner = job.tuning.bottleneck.size * (2 if job.tuning.bottleneck.dropout else 1)
    return 2 * job.compute_bytes * (shape.hidden + inner)
