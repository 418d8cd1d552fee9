"""PackedBatch: the rows of one micro-batch, laid end to end without padding, with the boundaries that keep documents apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class PackedDocument:
    """One tokenised document, as it lies in Arrow."""

    input_ids: Sequence[int]
    loss_mask: Sequence[int]
    """1 where the token itself is to be predicted with loss; the first token never is (nothing precedes it)."""
    group: int
    """Index of the group (language) its loss is reported under."""


@dataclass(frozen=True)
class PackedBatch:
    """T tokens of D documents, of which P are predicted with loss.

    Shapes: `input_ids` and `position_ids` (1, T) int64; `cu_seqlens` (D + 1,) int32; `loss_positions`, `targets` and `groups` (P,) int64.
    Position t in `loss_positions` predicts the token at t + 1, its `targets` entry.
    """

    input_ids: Tensor
    position_ids: Tensor
    cu_seqlens: Tensor
    max_seqlen: int
    loss_positions: Tensor
    targets: Tensor
    groups: Tensor

    @property
    def tokens(self) -> int:
        """T."""
        return self.input_ids.shape[1]

    @property
    def loss_tokens(self) -> int:
        """P."""
        return self.targets.shape[0]

    def to(self, device: torch.device) -> PackedBatch:
        """The same batch on `device`."""
        moved: dict[str, Any] = {name: value.to(device, non_blocking=True) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)

    def without_loss(self) -> PackedBatch:
        """The same tokens with no loss: what a rank short of a row runs, so that every rank issues the same collectives."""
        empty = self.targets[:0]
        return replace(self, loss_positions=empty, targets=empty, groups=empty)


def collate(documents: Sequence[PackedDocument]) -> PackedBatch:
    """Lay documents end to end: positions restart at 0 in each, and a document's last token predicts nothing."""
    input_ids: list[int] = []
    position_ids: list[int] = []
    cu_seqlens = [0]
    loss_positions: list[int] = []
    targets: list[int] = []
    groups: list[int] = []
    for document in documents:
        start, length = len(input_ids), len(document.input_ids)
        input_ids.extend(document.input_ids)
        position_ids.extend(range(length))
        cu_seqlens.append(start + length)
        predicted = [i for i in range(1, length) if document.loss_mask[i]]
        loss_positions.extend(start + i - 1 for i in predicted)
        targets.extend(document.input_ids[i] for i in predicted)
        groups.extend([document.group] * len(predicted))
    return PackedBatch(
        input_ids=torch.tensor([input_ids], dtype=torch.int64),
        position_ids=torch.tensor([position_ids], dtype=torch.int64),
        cu_seqlens=torch.tensor(cu_seqlens, dtype=torch.int32),
        max_seqlen=max((end - start for start, end in pairwise(cu_seqlens)), default=0),
        loss_positions=torch.tensor(loss_positions, dtype=torch.int64),
        targets=torch.tensor(targets, dtype=torch.int64),
        groups=torch.tensor(groups, dtype=torch.int64),
    )
