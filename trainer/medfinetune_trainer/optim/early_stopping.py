"""Early stopping: training ends once the validation loss has not fallen for a while. Imports no torch.

As transformers' EarlyStoppingCallback counts: the best is the lowest loss seen, by however little; only a loss that is lower than the best before it by more
than `minimum_delta` ends a row of validations that count against the patience.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STOPPED_EARLY, BEST_STEP, BEST_LOSS = "stopped_early", "best_step", "best_loss"
"""Names of the figures in the stage's numbers."""


@dataclass
class EarlyStopping:
    """The lowest validation loss so far, and how many validations in a row did not fall."""

    patience: int
    """Validations in a row without a lower loss after which training ends."""
    minimum_delta: float
    """Nats by which a loss must be lower to count."""
    best_loss: float | None = None
    """Nats; None before the first validation."""
    best_step: int = 0
    """Optimizer step of the best."""
    in_vain: int = 0
    """Validations in a row without a lower loss."""

    @property
    def stopped(self) -> bool:
        """Whether training is to end."""
        return self.in_vain >= self.patience

    def observe(self, step: int, loss: float) -> bool:
        """Count the validation after `step`; whether its loss is the lowest so far."""
        fall = float("inf") if self.best_loss is None else self.best_loss - loss
        self.in_vain = 0 if fall > self.minimum_delta else self.in_vain + 1
        if fall > 0:
            self.best_loss, self.best_step = loss, step
        return fall > 0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"best_loss": self.best_loss, "best_step": self.best_step, "in_vain": self.in_vain}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.best_loss, self.best_step, self.in_vain = state["best_loss"], state["best_step"], state["in_vain"]


def told(numbers: Mapping[str, float], total_steps: int, patience: int | None, *, restores: bool) -> str:
    """How training went, in a sentence, from the figures of a stage: `patience` is None without early stopping, `restores` says whose the adapter is."""
    steps, best = int(numbers.get("steps", total_steps)), int(numbers.get(BEST_STEP, 0))
    adapter = f"the adapter is that of step {best if restores and best else steps}"
    if patience is not None and numbers.get(STOPPED_EARLY):
        times = f"{patience} {'validation' if patience == 1 else 'validations'}"
        return f"Stopped early after step {steps} of {total_steps}: validation loss did not fall for {times}; {adapter}."
    return f"Trained {total_steps} steps; {adapter}, whose validation loss is the lowest." if restores and best else f"Trained {total_steps} steps."
