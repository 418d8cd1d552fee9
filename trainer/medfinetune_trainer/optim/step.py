"""One optimizer step: this rank's micro-batches of the window, one gradient, one update.

The loss is the mean over the loss tokens of the whole window over all ranks, whose number is known before the first backward pass; gradients are summed over
the ranks, once, in the last. Random state is seeded by (seed, step, micro-batch), never by rank. So a step's gradient is the same whatever the world size.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from medfinetune_api.errors import Diverged
from torch import Tensor
from torch.optim import Optimizer

from medfinetune_trainer.data.batch import PackedBatch
from medfinetune_trainer.optim.loss_scale import LossScale
from medfinetune_trainer.optim.parts import Parts, Rows
from medfinetune_trainer.optim.ranks import Ranks
from medfinetune_trainer.optim.window import MicroBatch, Window, micro_batches

AFTER_UPDATES = "Lower spec.training.learningRate, lengthen warmupSteps or set maxGradNorm, in a new run; complete checkpoints are kept."
BEFORE_ANY_UPDATE = "No update was made yet, so the rate is not the cause: compare the base's weights with the publisher's hashes, then look at these rows."


@dataclass(frozen=True)
class StepFigures:
    """What a step measured, over all ranks."""

    loss: float
    """Mean cross-entropy of the window's loss tokens before the update, in nats."""
    accuracy: float
    """Share of the loss tokens whose most likely prediction is the target, 0 to 1."""
    gradient_norm: float | None
    """Global norm before clipping; None where FP16 overflowed and the update was skipped."""
    tokens: int
    loss_tokens: int


@dataclass(frozen=True)
class Stepper:
    """Takes optimizer steps of one model."""

    parts: Parts
    optimizer: Optimizer
    scale: LossScale
    ranks: Ranks
    micro_batch: int
    """Rows in one forward pass."""
    max_grad_norm: float
    """0 turns clipping off."""
    seed: int

    def step(self, window: Window, rows: Rows) -> StepFigures:
        """Run `window` of the epoch's `rows` and update the trained parameters. Collective.

        Raises:
            Diverged: loss or gradient norm is NaN or infinite, on every rank alike; the parameters are left as they were.
        """
        passes = micro_batches(window.rows, self.micro_batch, self.ranks.rank, self.ranks.world_size)
        batches = [_batch(rows, each) for each in passes]
        counted = [batch for each, batch in zip(passes, batches, strict=True) if each.counts]
        loss_tokens, tokens = map(int, self.ranks.sum([sum(batch.loss_tokens for batch in counted), sum(batch.tokens for batch in counted)]))
        losses, correct = self._accumulate(window.step, passes, batches, max(1, loss_tokens))
        loss_sum, right = self.ranks.sum([sum(losses), correct])
        if not math.isfinite(loss_sum):
            raise self._diverged(window, f"a loss of {loss_sum}", [each.rows for each, loss in zip(passes, losses, strict=True) if not math.isfinite(loss)])
        norm = self._update(window)
        return StepFigures(loss_sum / max(1, loss_tokens), right / max(1, loss_tokens), norm, tokens, loss_tokens)

    def _accumulate(self, step: int, passes: Sequence[MicroBatch], batches: Sequence[PackedBatch], loss_tokens: int) -> tuple[list[float], float]:
        """Forward and backward of every micro-batch; the loss sum of each, and how many of their loss tokens were predicted."""
        losses: list[Tensor] = []
        correct: list[Tensor] = []
        for each, batch in zip(passes, batches, strict=True):
            torch.manual_seed(micro_batch_seed(self.seed, step, each.number))
            self.parts.gradient_sync(self.parts.module, each is passes[-1])
            sums = self.parts.loss(self.parts.module, batch.to(self.parts.device))
            (sums.loss * (self.scale.scale / loss_tokens)).backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward unannotated
            losses.append(sums.loss.detach())
            correct.append(sums.group_correct.sum())
        return torch.stack(losses).tolist(), float(torch.stack(correct).sum())

    def _update(self, window: Window) -> float | None:
        """Clip and apply the accumulated gradient; its norm, or None where FP16 overflowed."""
        self._unscale()
        norm = self.parts.clip_grad_norm(self.parts.module, self.max_grad_norm)
        finite = math.isfinite(norm)
        if finite:
            self.optimizer.step()
            self.scale.stepped()
        elif self.scale.may_back_off:
            self.scale.overflowed()
        else:
            raise self._diverged(window, f"a gradient norm of {norm}", [])
        self.optimizer.zero_grad(set_to_none=True)
        return norm if finite else None

    def _unscale(self) -> None:
        if self.scale.scale != 1.0:
            for parameter in self.parts.trained():
                if parameter.grad is not None:
                    parameter.grad.mul_(1.0 / self.scale.scale)

    def _diverged(self, window: Window, found: str, mine: list[range]) -> Diverged:
        """Name the step and the rows; collective, because each rank knows only its own."""
        bad = sorted({row for rows in self.ranks.gather([row for each in mine for row in each]) for row in rows}) or list(window.rows)
        return Diverged(
            f"step {window.step}",
            found=f"{found} in rows {_spans(bad)} of epoch {window.epoch + 1}",
            expected="a finite loss and gradient",
            remedy=BEFORE_ANY_UPDATE if window.step == 1 else AFTER_UPDATES,
        )


def micro_batch_seed(seed: int, step: int, number: int) -> int:
    """The seed of one micro-batch's random state: 63 bits of a hash, the same on whichever rank it runs."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}/{number}".encode()).digest()[:8]) >> 1


def _batch(rows: Rows, each: MicroBatch) -> PackedBatch:
    batch = rows.batch(each.rows)
    return batch if each.counts else batch.without_loss()


def _spans(rows: Sequence[int]) -> str:
    """The first few row numbers, and how many more."""
    shown = ", ".join(map(str, rows[:8]))
    return shown if len(rows) <= 8 else f"{shown} and {len(rows) - 8} more"
