"""What the ranks tell each other besides gradients: sums of a few figures, and rank 0's word.

Everything here travels in CPU tensors over gloo, on GPUs too, so that no figure waits for a CUDA stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from medfinetune_api.errors import Refusal

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The gang as one of its ranks sees it."""

    rank: int
    world_size: int

    @classmethod
    def here(cls) -> Ranks:
        """The initialised process group, or a gang of one where there is none."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls(0, 1)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sum over the ranks, value by value, in fp64. Every rank must call it."""
        if self.world_size == 1:
            return [float(value) for value in values]
        total = torch.tensor(list(values), dtype=torch.float64)
        dist.all_reduce(total)
        return [float(value) for value in total.tolist()]

    def gather(self, value: T) -> list[T]:
        """Every rank's value, by rank. Every rank must call it."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def from_zero(self, work: Callable[[], T]) -> T:
        """Do `work` on rank 0 alone; every rank has its result, or raises its Refusal. Every rank must call it."""
        outcome: list[Any] = [_attempt(work) if self.rank == 0 else None]
        if self.world_size > 1:
            dist.broadcast_object_list(outcome, src=0, device=torch.device("cpu"))
        if isinstance(outcome[0], Refusal):
            raise outcome[0]
        result: T = outcome[0]
        return result


def _attempt(work: Callable[[], T]) -> T | Refusal:
    try:
        return work()
    except Refusal as refusal:
        return refusal
