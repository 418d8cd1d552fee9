"""The frozen base: NF4 matrices and their constants, and what stays in the compute type (embedding, head, norms, biases, other modalities)."""

from __future__ import annotations

from dataclasses import dataclass

from medfinetune_api.choices import Quantization

from medfinetune_trainer.memory.job import Job
from medfinetune_trainer.memory.shape import ModelShape

NF4_BYTES = 4 / 8
NF4_CONSTANTS = 1 / 64 + 4 / (64 * 256)
"""Bytes of double quantization for each weight (Dettmers et al. 2023, arXiv 2305.14314, section 3): 8 bits for 64 weights, 32 for 256 such blocks."""


@dataclass(frozen=True)
class Frozen:
    """Bytes."""

    layer: float
    """One decoder layer."""
    ends: float
    """Embedding, last norm and head."""
    others: float
    """Other modalities, which text never runs."""
    constants: float
    """Of quantization, in all layers."""

    def total(self, layers: int) -> float:
        """All but the constants."""
        return layers * self.layer + self.ends + self.others


def frozen(shape: ModelShape, job: Job) -> Frozen:
    """What is frozen of a base of `shape`."""
    others = float(shape.others * job.compute_bytes)
    if job.trains_base:
        return Frozen(0, 0, others, 0)
    quantised = job.tuning.quantization is Quantization.NF4
    matrices = shape.layer_matrices * (NF4_BYTES if quantised else job.compute_bytes)
    constants = shape.layers * shape.layer_matrices * NF4_CONSTANTS if quantised else 0
    return Frozen(matrices + shape.layer_vectors * job.compute_bytes, shape.ends * job.compute_bytes, others, constants)
