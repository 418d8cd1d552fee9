"""Passes that fit: where the accelerator's memory runs out, the same work is done again with half the rows in a pass.

The work begins again from its start, so a step stays the step it was: the same window, the same divisor of the loss, nothing lost. This is for a process that
trains alone. Of a gang, the rank that runs out leaves its peers in the middle of a collective, and the whole gang must begin again from its checkpoint: there
the failure tells how many rows did not fit, and whoever started the gang starts it with half of them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from medfinetune_api.choices import Stage
from medfinetune_api.errors import OutOfMemory, Refusal

from medfinetune_trainer.optim.exhaustion import causes, exhausted

T = TypeVar("T")

OUT_OF_MEMORY = "out_of_memory"
"""Kind of a line in metrics.jsonl that tells of fewer rows, and name of the figure that counts them."""

_FEWER = {
    Stage.TRAIN: "Lower spec.training.microBatch, or set it to Auto; a step keeps its rows.",
    Stage.EVALUATE: "Lower spec.evaluation.batchSize; training need not be repeated.",
}
_NOT_ROWS = {
    Stage.TRAIN: "Set activationCheckpointing: Enabled, choose sharding Full over more GPUs, lower spec.data.maxLength, or take GPUs with more memory.",
    Stage.EVALUATE: "Evaluate on a GPU with more memory; training need not be repeated.",
}


class PassTooLarge(OutOfMemory):
    """One pass of `rows` rows does not fit."""

    rows: int = 0


@dataclass
class Fitting:
    """How many rows a pass of one stage has."""

    stage: Stage
    rows: int
    may_halve: bool
    """Whether this process may do it with fewer: nobody waits for it in a collective, and nobody has asked for just this many."""

    def run(self, work: Callable[[int], T], halved: Callable[[int], None]) -> T:
        """What `work(rows)` returns, with as many rows as fit. It must leave nothing behind that doing it again would double.

        `halved` is told how many rows did not fit, each time there are to be fewer. Raises PassTooLarge where there may not, or cannot, be fewer.
        """
        while True:
            try:
                return work(self.rows)
            except Refusal:
                raise
            except Exception as error:
                if not any(map(exhausted, causes(error))):
                    raise
                if not self.may_halve or self.rows == 1:
                    raise self._too_large() from error
            tried, self.rows = self.rows, self.rows // 2
            _release()  # only here is the failed pass's graph, which the error held, no longer in use
            halved(tried)

    def _too_large(self) -> PassTooLarge:
        remedy = _NOT_ROWS[self.stage] if self.rows == 1 else _FEWER[self.stage]
        found = f"no memory left on the accelerator in a pass of {self.rows} {'row' if self.rows == 1 else 'rows'}"
        refusal = PassTooLarge(str(self.stage), found=found, expected="a pass that fits", remedy=remedy)
        refusal.rows = self.rows
        return refusal


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
