"""What a step needs of the model and the data, as plain callables, so that neither package imports the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from medfinetune_trainer.data.batch import PackedBatch


class LossSums(Protocol):
    """Sums over a batch's loss tokens, in all and by group (language)."""

    @property
    def loss(self) -> Tensor:
        """() fp32, summed cross-entropy in nats, with gradient."""

    @property
    def group_loss(self) -> Tensor:
        """(groups,) fp32."""

    @property
    def group_correct(self) -> Tensor:
        """(groups,) int64."""

    @property
    def group_tokens(self) -> Tensor:
        """(groups,) int64."""


@dataclass(frozen=True)
class Parts:
    """The model as a rank trains it."""

    module: nn.Module
    device: torch.device
    loss: Callable[[nn.Module, PackedBatch], LossSums]
    """(module, batch on the device) -> sums."""
    gradient_sync: Callable[[nn.Module, bool], None]
    """Whether the next backward pass sums gradients over the ranks."""
    clip_grad_norm: Callable[[nn.Module, float], float]
    """Clip to a global norm (0 leaves gradients as they are) and return the norm before clipping; the same on every rank."""
    frozen: Callable[[int], Sequence[nn.Parameter]] = lambda _: ()
    """Which of the trained parameters an optimizer step, from 1, leaves as they are; the same on every rank."""

    def trained(self) -> list[nn.Parameter]:
        """The parameters that are trained: this rank's shards of them."""
        return [parameter for parameter in self.module.parameters() if parameter.requires_grad]


class Rows(Protocol):
    """Packed rows, and how to lay some of them out as one batch."""

    def __len__(self) -> int:
        """Number of rows."""

    def batch(self, rows: range) -> PackedBatch:
        """The rows as one micro-batch, on the CPU."""

    def documents(self, row: int) -> Sequence[tuple[int, str]]:
        """The documents of a row, in order: number among those prepared, and source."""
