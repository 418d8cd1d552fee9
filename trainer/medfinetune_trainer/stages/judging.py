"""What validation decides: when it is due, whether training stops early, and whose adapter becomes the final one.

Every rank decides alike: rank 0's loss is everybody's. What is decided survives a restart in the checkpoint, and the best adapter in `checkpoints/best`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from medfinetune_api.plan import RunPlan

from medfinetune_trainer.artifacts import best
from medfinetune_trainer.artifacts.files import new_folder
from medfinetune_trainer.model.adapter import save_trained
from medfinetune_trainer.model.tuned import tuning_of
from medfinetune_trainer.optim.early_stopping import BEST_LOSS, BEST_STEP, STOPPED_EARLY, EarlyStopping
from medfinetune_trainer.optim.step import Stepper
from medfinetune_trainer.optim.validation import ALL, Quality
from medfinetune_trainer.optim.window import Window


@dataclass
class Judge:
    """Decides for one run."""

    plan: RunPlan
    stepper: Stepper
    total_steps: int
    stopping: EarlyStopping | None
    """None trains to the last step."""

    @classmethod
    def of(cls, plan: RunPlan, stepper: Stepper, total_steps: int) -> Judge:
        """As the plan says, before any validation."""
        early = plan.training.early_stopping
        return cls(plan, stepper, total_steps, EarlyStopping(early.patience, early.minimum_delta) if early else None)

    @property
    def remembered(self) -> dict[str, EarlyStopping]:
        """What a checkpoint keeps."""
        return {"early_stopping": self.stopping} if self.stopping else {}

    @property
    def stopped(self) -> bool:
        """Whether training is to end now."""
        return self.stopping is not None and self.stopping.stopped

    def resume(self, done: int) -> None:
        """Forget what an earlier attempt kept after step `done`, where this one begins. Collective. Raises StorageFailed, OutputConflict."""
        if self.stopping:
            self.stepper.ranks.from_zero(lambda: best.forget_later(self._best, done))

    def due(self, window: Window) -> bool:
        """Whether to validate after `window`: at the end of each epoch; or every so many steps, and at the end of training."""
        every = self.plan.training.validate_every_steps
        return window.ends_epoch if every is None else window.step % every == 0 or window.step == self.total_steps

    def observe(self, step: int, qualities: Mapping[str, Quality], saved: int) -> None:
        """Heed the validation after `step`, where something is to be decided by it; `saved` is the step of the newest complete checkpoint. Collective.

        Raises StorageFailed, OutputConflict: what was trained could not be kept.
        """
        early = self.plan.training.early_stopping
        if self.stopping is None or early is None:
            return
        loss = self.stepper.ranks.from_zero(lambda: qualities[ALL].loss)
        if self.stopping.observe(step, loss) and early.restore_best:
            self._write(best.keeping(self._best, step, saved))

    def save_final(self) -> None:
        """The trained adapter, whole, under the name that says training is complete: the best one where the plan wants it. Collective. As `observe`."""
        early, final, stopping = self.plan.training.early_stopping, self.plan.folder.final, self.stopping
        if stopping and early and early.restore_best and stopping.best_step:
            self.stepper.ranks.from_zero(lambda: best.restore(self._best, stopping.best_step, final))
        else:
            self._write(new_folder(final))

    def numbers(self, step: int) -> dict[str, float]:
        """What was decided, for the StageResult of training that ended after `step`."""
        early = self.stopping
        if early is None or early.best_loss is None:
            return {}
        return {STOPPED_EARLY: float(early.stopped and step < self.total_steps), BEST_STEP: float(early.best_step), BEST_LOSS: early.best_loss}

    @property
    def _best(self) -> Path:
        return self.plan.folder.checkpoints / "best"

    def _write(self, opened: AbstractContextManager[Path]) -> None:
        ranks = self.stepper.ranks
        with opened if ranks.rank == 0 else nullcontext(Path()) as folder:  # the other ranks write nothing
            save_trained(tuning_of(self.plan), self.stepper.parts.module, folder, self.plan.model.path)
        ranks.gather(None)
