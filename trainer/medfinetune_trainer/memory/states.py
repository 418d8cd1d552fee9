"""What the optimizer keeps and takes, in bytes, as `optim/optimizer.py` builds it: torch's AdamW, or bitsandbytes' in 8 bits, paged, or both.

bitsandbytes (Dettmers et al. 2022, arXiv 2110.02861): two states of one byte each and a 32-bit maximum for 256 of them; a tensor of fewer than 4,096 values
keeps 32 bits, one of fewer than 100,000 is never paged. Paged states count as the host's: they leave when the accelerator's memory runs out.
"""

from __future__ import annotations

from collections.abc import Sequence

from medfinetune_api.choices import Offload, OptimizerType, Sharding

from medfinetune_trainer.memory.activations import FP32
from medfinetune_trainer.memory.job import Job

SMALLEST_8BIT, SMALLEST_PAGED = 4096, 100_000
EIGHT_BIT = (OptimizerType.ADAMW_8BIT, OptimizerType.PAGED_ADAMW_8BIT)
PAGED = (OptimizerType.PAGED_ADAMW, OptimizerType.PAGED_ADAMW_8BIT)


def state_bytes(tensors: Sequence[int], job: Job) -> float:
    """Of both moments of tensors with so many elements, on the accelerator."""
    if Offload.OPTIMIZER in job.offload:
        return 0
    return sum(_moments(size, job.optimizer) for size in tensors)


def update_bytes(tensors: Sequence[int], job: Job, sharding: Sharding) -> float:
    """What an update takes for a moment: on CUDA torch updates all plain tensors at once, and else one after another, DTensors always; two values an element.

    Moments that lie on the host come back for it, one tensor's at a time.
    """
    if job.optimizer in EIGHT_BIT + PAGED:
        return 0
    largest = max(tensors, default=0)
    if Offload.OPTIMIZER in job.offload:
        return 4 * FP32 * largest
    return FP32 * sum(tensors) if job.cuda and sharding is Sharding.NONE else 2 * FP32 * largest


def _moments(size: int, optimizer: OptimizerType) -> float:
    if optimizer in PAGED and size >= SMALLEST_PAGED:
        return 0
    return 2 * size * ((1 + FP32 / 256) if optimizer in EIGHT_BIT and size >= SMALLEST_8BIT else FP32)
