"""The loss of a packed batch: the language-model head runs on the loss tokens only, and sums leave the division to the caller.

At 2,048 tokens and a vocabulary of 262,208 all logits would cost gigabytes where under 2 % of the tokens carry loss. The loss is a sum because its
divisor, the loss tokens of the whole accumulation window over all ranks, is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from medfinetune_trainer.data.batch import PackedBatch


@dataclass(frozen=True)
class LossSums:
    """Sums over the P loss tokens of a batch, in all and by group; every tensor on the model's device."""

    loss: Tensor
    """() fp32, summed cross-entropy in nats, with gradient; 0 with zero gradients where P is 0."""
    group_loss: Tensor
    """(groups,) fp32, without gradient."""
    group_correct: Tensor
    """(groups,) int64: tokens whose most likely prediction is the target."""
    group_tokens: Tensor
    """(groups,) int64."""

    @property
    def correct(self) -> Tensor:
        """() int64."""
        return self.group_correct.sum()

    @property
    def tokens(self) -> Tensor:
        """() int64, P."""
        return self.group_tokens.sum()


def packed_loss(model: nn.Module, batch: PackedBatch, groups: int) -> LossSums:
    """Run `model` (with packed attention) on `batch` and sum the loss.

    A batch without loss tokens still runs forward, and its loss still runs backward: every rank must issue the same collectives.

    Args:
        model: the sharded, or plain, adapted model.
        batch: on the model's device.
        groups: number of groups, such as languages; `batch.groups` holds indexes below it.
    """
    logits = loss_logits(model, batch).float()
    losses = functional.cross_entropy(logits, batch.targets, reduction="none")
    with torch.no_grad():
        correct = logits.argmax(dim=-1) == batch.targets
        group_loss = torch.zeros(groups, device=losses.device).index_add_(0, batch.groups, losses.detach())
        group_tokens = torch.bincount(batch.groups, minlength=groups)
        group_correct = torch.bincount(batch.groups[correct], minlength=groups)
    return LossSums(losses.sum(), group_loss, group_correct, group_tokens)


def loss_logits(model: nn.Module, batch: PackedBatch) -> Tensor:
    """Logits at the loss positions only: (P, vocabulary), in the model's compute type."""
    output = model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        use_cache=False,
        logits_to_keep=batch.loss_positions,
        cu_seqlens=batch.cu_seqlens,
        max_seqlen=batch.max_seqlen,
    )
    logits: Tensor = output.logits
    return logits[0]
