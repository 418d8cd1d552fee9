"""Loss, perplexity and token accuracy on the held-out rows, by language, over all ranks.

In eval mode and without gradients; the mode is restored, and the base is only read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medfinetune_trainer.optim.diverged import AFTER_UPDATES, diverged
from medfinetune_trainer.optim.parts import Parts, Rows
from medfinetune_trainer.optim.ranks import Ranks
from medfinetune_trainer.optim.window import micro_batches
from medfinetune_trainer.telemetry.heartbeat import beat

ALL = "all"
"""Key of the figures over all languages."""


@dataclass(frozen=True)
class Quality:
    """How well held-out loss tokens are predicted."""

    loss: float
    """Mean cross-entropy, in nats."""
    accuracy: float
    """Share of the loss tokens whose most likely prediction is the target, 0 to 1."""
    loss_tokens: int

    @property
    def perplexity(self) -> float:
        """exp(loss); infinite beyond what a float holds."""
        return math.exp(self.loss) if self.loss < 700 else math.inf

    def figures(self) -> dict[str, float]:
        """As it is recorded."""
        return {"loss": self.loss, "perplexity": self.perplexity, "accuracy": self.accuracy, "loss_tokens": self.loss_tokens}


def validate(parts: Parts, rows: Rows, languages: Sequence[str], ranks: Ranks, micro_batch: int) -> Mapping[str, Quality]:
    """The quality by language, and over all of them under ALL; languages without loss tokens are absent. Collective.

    `languages` names the groups of the rows' loss tokens. Raises Diverged, on every rank, where the loss is not finite.
    """
    totals, passes = torch.zeros(3, len(languages), dtype=torch.float64), []
    with evaluating(parts.module):
        for each in micro_batches(range(len(rows)), micro_batch, ranks.rank, ranks.world_size):
            beat(f"validation, micro-batch {each.number}")
            batch = rows.batch(each.rows)
            sums = parts.loss(parts.module, (batch if each.counts else batch.without_loss()).to(parts.device))
            column = _column(sums.group_loss, sums.group_correct, sums.group_tokens)
            passes += [(each.rows, float(column[0].sum()))] if each.counts else []
            totals += column
    loss, correct, tokens = torch.tensor(ranks.sum(totals.flatten().tolist()), dtype=torch.float64).view_as(totals)
    if not loss.isfinite().all():
        raise diverged("validation", f"a loss of {float(loss.sum())}", passes, rows, ranks, index="the held-out index", remedy=AFTER_UPDATES)
    found = {language: _quality(loss[i], correct[i], tokens[i]) for i, language in enumerate(languages) if tokens[i] > 0}
    return found | {ALL: _quality(loss.sum(), correct.sum(), tokens.sum())} if found else {}


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode without gradients, and back to the mode it was in."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(training)


def _column(*sums: Tensor) -> Tensor:
    return torch.stack([each.to("cpu", torch.float64) for each in sums])


def _quality(loss: Tensor, correct: Tensor, tokens: Tensor) -> Quality:
    return Quality(float(loss / tokens), float(correct / tokens), int(tokens))
