"""One optimizer step: this rank's micro-batches of the window, one gradient, one update.

The loss is the mean over the loss tokens of the whole window over all ranks, whose number is known before the first backward pass; gradients are summed over
the ranks, once, in the last. Random state is seeded by (seed, step, micro-batch), never by rank. So a step's gradient is the same whatever the world size, and
but for dropout and NEFTune, which draw for a micro-batch as a whole, whatever the micro-batch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from medfinetune_api.errors import Diverged, OutOfMemory
from torch import Tensor
from torch.optim import Optimizer

from medfinetune_trainer.data.batch import PackedBatch
from medfinetune_trainer.optim.diverged import AFTER_UPDATES, BEFORE_ANY_UPDATE, diverged
from medfinetune_trainer.optim.exhaustion import causes, exhausted
from medfinetune_trainer.optim.loss_scale import LossScale
from medfinetune_trainer.optim.parts import Parts, Rows
from medfinetune_trainer.optim.ranks import Ranks
from medfinetune_trainer.optim.window import MicroBatch, Window, micro_batches
from medfinetune_trainer.telemetry.heartbeat import beat


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

        Where it raises, the parameters are left as they were, unless it is OutOfMemory: a step that ran out of memory before may be taken again.

        Raises:
            Diverged: loss or gradient norm is NaN or infinite, on every rank alike.
            OutOfMemory: memory ran out in the update itself, whose needs do not depend on the micro-batch.
        """
        self.optimizer.zero_grad(set_to_none=True)  # what a try that ran out of memory has left
        passes = micro_batches(window.rows, self.micro_batch, self.ranks.rank, self.ranks.world_size)
        batches = [_batch(rows, each) for each in passes]
        counted = [batch for each, batch in zip(passes, batches, strict=True) if each.counts]
        loss_tokens, tokens = map(int, self.ranks.sum([sum(batch.loss_tokens for batch in counted), sum(batch.tokens for batch in counted)]))
        losses, correct = self._accumulate(window.step, passes, batches, max(1, loss_tokens))
        loss_sum, right = self.ranks.sum([sum(losses), correct])
        if not math.isfinite(loss_sum):
            raise self._diverged(window, f"a loss of {loss_sum}", passes, losses, rows)
        for parameter in self.parts.frozen(window.step):
            parameter.grad = None
        norm = self._update()
        if norm is not None and not math.isfinite(norm):
            raise self._diverged(window, f"a gradient norm of {norm}", passes, losses, rows)
        return StepFigures(loss_sum / max(1, loss_tokens), right / max(1, loss_tokens), norm, tokens, loss_tokens)

    def _accumulate(self, step: int, passes: Sequence[MicroBatch], batches: Sequence[PackedBatch], loss_tokens: int) -> tuple[list[float], float]:
        """Forward and backward of every micro-batch; the loss sum of each, and how many of their loss tokens were predicted."""
        losses: list[Tensor] = []
        correct: list[Tensor] = []
        for each, batch in zip(passes, batches, strict=True):
            beat(f"step {step}, micro-batch {each.number}")
            torch.manual_seed(micro_batch_seed(self.seed, step, each.number))
            self.parts.gradient_sync(self.parts.module, each is passes[-1])
            sums = self.parts.loss(self.parts.module, batch.to(self.parts.device))
            (sums.loss * (self.scale.scale / loss_tokens)).backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward unannotated
            losses.append(sums.loss.detach())
            correct.append(sums.group_correct.sum())
        return torch.stack(losses).tolist(), float(torch.stack(correct).sum())

    def _update(self) -> float | None:
        """Clip the accumulated gradient and apply it if its norm is finite; the norm, or None where FP16 overflowed and the scale could back off."""
        self._unscale()
        norm = self.parts.clip_grad_norm(self.parts.module, self.max_grad_norm)
        overflowed = not math.isfinite(norm) and self.scale.may_back_off
        if math.isfinite(norm):
            self._apply()
            self.scale.stepped()
        elif overflowed:
            self.scale.overflowed()
        self.optimizer.zero_grad(set_to_none=True)
        return None if overflowed else norm

    def _apply(self) -> None:
        try:
            self.optimizer.step()
        except Exception as error:
            if any(map(exhausted, causes(error))):
                remedy = "Choose sharding Full over more GPUs, a smaller rank, or GPUs with more memory: this does not depend on the micro-batch."
                raise OutOfMemory("train", found="no memory left for the optimizer's update", expected="room for its states", remedy=remedy) from error
            raise

    def _unscale(self) -> None:
        if self.scale.scale != 1.0:
            for parameter in self.parts.trained():
                if parameter.grad is not None:
                    parameter.grad.mul_(1.0 / self.scale.scale)

    def _diverged(self, window: Window, found: str, passes: Sequence[MicroBatch], losses: Sequence[float], rows: Rows) -> Diverged:
        mine = [(each.rows, loss) for each, loss in zip(passes, losses, strict=True) if each.counts]
        remedy = BEFORE_ANY_UPDATE if window.step == 1 else AFTER_UPDATES
        return diverged(f"step {window.step}", found, mine, rows, self.ranks, index=f"epoch {window.epoch + 1}", remedy=remedy)


def micro_batch_seed(seed: int, step: int, number: int) -> int:
    """The seed of one micro-batch's random state: 63 bits of a hash, the same on whichever rank it runs."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}/{number}".encode()).digest()[:8]) >> 1


def _batch(rows: Rows, each: MicroBatch) -> PackedBatch:
    batch = rows.batch(each.rows)
    return batch if each.counts else batch.without_loss()
