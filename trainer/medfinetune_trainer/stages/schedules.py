"""Whether what the manifest counts in steps can act in this run: known once the data has been packed, before a GPU is asked for.

A warm-up that takes the whole run, or layers of which none ever joins, train something else than was asked for: refused. Early stopping that cannot end the
run harms nothing, and may keep the best adapter all the same: told.
"""

from __future__ import annotations

from medfinetune_api.errors import InvalidManifest
from medfinetune_api.plan import RunPlan


def refuse_longer_than(plan: RunPlan, total_steps: int) -> None:
    """Raises InvalidManifest where the learning rate would begin its course, or the first layers would join, only after `total_steps`, the run's last."""
    training = plan.training
    _refuse("scheduler.warmupSteps", training.scheduler.warmup_steps, total_steps, "the rate rises to the last step")
    if training.gradual_unfreezing:
        _refuse("gradualUnfreezing.everySteps", training.gradual_unfreezing.every_steps, total_steps, "no further layer joins")


def idle(plan: RunPlan, steps_per_epoch: int) -> str:
    """A sentence where early stopping cannot end the run before its last step; empty otherwise."""
    training = plan.training
    if training.early_stopping is None:
        return ""
    total, every = steps_per_epoch * training.epochs, training.validate_every_steps
    early = training.epochs - 1 if every is None else (total - 1) // every
    patience = training.early_stopping.patience
    if early > patience:  # the first validation has no loss before it, so it never counts against the patience
        return ""
    return f"Early stopping cannot end this run: {early} validations before its last step, and patience {patience} takes {patience + 1}."


def _refuse(field: str, steps: int, total_steps: int, otherwise: str) -> None:
    if steps >= total_steps:
        raise InvalidManifest(
            f"spec.training.{field}",
            found=f"{steps} steps in a run of {total_steps}, where {otherwise}",
            expected=f"at most {total_steps - 1}",
            remedy="Lower it, train for more epochs, or lower globalBatchTokens: an epoch then has more steps.",
        )
