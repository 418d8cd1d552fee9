"""The training loop: every step's window in order, validation at the end of each epoch, checkpoints on the way, the adapter at the end.

It reads top to bottom as training goes. What a step is stands in `optim`, what the model is in `model`, what a checkpoint is in `artifacts`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from medfinetune_api.choices import Stage
from medfinetune_api.errors import Interrupted
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import Prepared

from medfinetune_trainer.artifacts.files import new_folder
from medfinetune_trainer.data.batch import PackedBatch, collate
from medfinetune_trainer.data.epochs import VALIDATION, epoch_name
from medfinetune_trainer.data.packed import PackedRows
from medfinetune_trainer.model.adapter import save_trained
from medfinetune_trainer.model.build import build
from medfinetune_trainer.model.folder import model_folder
from medfinetune_trainer.model.loss import packed_loss
from medfinetune_trainer.model.precision import compute_dtype
from medfinetune_trainer.model.sharding import clip_grad_norm, gradient_sync, is_alone
from medfinetune_trainer.model.tuned import tuning_of
from medfinetune_trainer.optim.adamw import adamw, set_learning_rate
from medfinetune_trainer.optim.fitting import Fitting
from medfinetune_trainer.optim.loss_scale import LossScale
from medfinetune_trainer.optim.parts import Parts
from medfinetune_trainer.optim.ranks import Ranks
from medfinetune_trainer.optim.schedule import learning_rate
from medfinetune_trainer.optim.step import Stepper
from medfinetune_trainer.optim.validation import validate
from medfinetune_trainer.optim.window import Window, windows
from medfinetune_trainer.stages.outcome import STOP
from medfinetune_trainer.stages.prepared import micro_batch
from medfinetune_trainer.stages.saving import Saver, resume, saving
from medfinetune_trainer.stages.train_record import Record, recording

T = TypeVar("T")


def train(plan: RunPlan, prepared: Prepared, ranks: Ranks, device: torch.device, folder: Path) -> Mapping[str, float]:
    """Train as one rank of the gang and return the stage's numbers; `folder` is the agent's. Collective.

    Raises:
        Diverged: loss or gradient is not finite. Interrupted: a stop was asked for; a checkpoint holds all that was done.
        OutputConflict: the newest checkpoint is another plan's. InvalidModel, InvalidManifest, StorageFailed.
    """
    parts, stepper = _build(plan, prepared, ranks, device)
    remembered = {"loss_scale": stepper.scale}
    done = resume(plan, stepper, remembered)
    with recording(plan, prepared, ranks, device, folder, done) as record, saving(plan, stepper, remembered, record, done) as saver:
        fitting = Fitting(Stage.TRAIN, stepper.micro_batch, may_halve=plan.training.micro_batch == "Auto" and is_alone(parts.module))
        loop = _Loop(plan, prepared, stepper, record, saver, fitting, stop=(folder / STOP).exists)
        loop.run(done)
        saver.finish()
        _save_final(plan, parts, ranks)
        return record.numbers(ranks)


@dataclass
class _Loop:
    plan: RunPlan
    prepared: Prepared
    stepper: Stepper
    record: Record
    saver: Saver
    fitting: Fitting
    stop: Callable[[], bool]

    def run(self, done: int) -> None:
        """Every step after `done`, to the last."""
        epochs = [_Rows(self.plan, epoch_name(epoch)) for epoch in range(self.plan.training.epochs)]
        held_out = _Rows(self.plan, VALIDATION)
        for window in windows([len(rows) for rows in epochs], self.plan.rows_per_step, done):
            self._heed(window.step - 1)
            self._step(window, epochs[window.epoch])
            if window.ends_epoch and len(held_out):
                self._validate(window, held_out)
            if window.step % self.plan.checkpoint.every_steps == 0 or window.step == self.prepared.total_steps:
                self.saver.start(window.step)

    def _step(self, window: Window, rows: _Rows) -> None:
        training, started = self.plan.training, time.monotonic()
        rate = learning_rate(training.learning_rate, training.scheduler, window.step, self.prepared.total_steps)
        set_learning_rate(self.stepper.optimizer, rate)
        figures = self._fit(window, lambda size: replace(self.stepper, micro_batch=size).step(window, rows))
        self.record.step(window, figures, rate, time.monotonic() - started)

    def _validate(self, window: Window, rows: _Rows) -> None:
        qualities = self._fit(window, lambda size: validate(self.stepper.parts, rows, rows.packed.languages, self.stepper.ranks, size))
        self.record.validation(window, qualities)

    def _fit(self, window: Window, work: Callable[[int], T]) -> T:
        return self.fitting.run(work, lambda tried: self.record.halved(window.step, tried, self.fitting.rows))

    def _heed(self, done: int) -> None:
        """All ranks stop after the same step, whichever was asked, and learn after the same step how a checkpoint ended. Raises Interrupted; as `Saver`."""
        ranks = self.stepper.ranks
        stops, settled = ranks.sum([self.stop(), self.saver.settled()])
        if settled == ranks.world_size:
            self.saver.finish()
        if stops:
            self.saver.save(done)
            raise Interrupted("train", found=f"a request to stop after step {done}", expected="the last step", remedy="Start it again; it continues.")


@dataclass
class _Rows:
    """The packed rows of one index, as batches."""

    plan: RunPlan
    name: str
    packed: PackedRows = field(init=False)

    def __post_init__(self) -> None:
        self.packed = PackedRows(self.plan.folder.data, self.name)

    def __len__(self) -> int:
        return len(self.packed)

    def batch(self, rows: range) -> PackedBatch:
        """The documents of `rows`, end to end, in order."""
        return collate([document for row in rows for document in self.packed.row(row)])

    def documents(self, row: int) -> list[tuple[int, str]]:
        """Number and source of each document of a row."""
        return self.packed.documents(row)


def _build(plan: RunPlan, prepared: Prepared, ranks: Ranks, device: torch.device) -> tuple[Parts, Stepper]:
    """Tuned model and optimizer of this rank, at step 0."""
    training, dtype, chosen = plan.training, compute_dtype(plan.training.precision, device), prepared.chosen
    checkpointing = chosen.activation_checkpointing
    module = build(model_folder(plan), tuning_of(plan), dtype, device, chosen.sharding, packed=True, activation_checkpointing=checkpointing).train()
    groups = len(PackedRows(plan.folder.data, VALIDATION).languages)
    parts = Parts(module, device, partial(packed_loss, groups=groups), gradient_sync, clip_grad_norm)
    optimizer = adamw(parts.trained(), training.optimizer, training.learning_rate)
    scale = LossScale.fresh(dynamic=dtype is torch.float16)
    return parts, Stepper(parts, optimizer, scale, ranks, micro_batch(prepared), training.optimizer.max_grad_norm, training.seed)


def _save_final(plan: RunPlan, parts: Parts, ranks: Ranks) -> None:
    """The trained adapter, whole, under the name that says training is complete."""
    with new_folder(plan.folder.final) if ranks.rank == 0 else nullcontext(plan.folder.final) as folder:
        save_trained(tuning_of(plan), parts.module, folder, plan.model.path)
    ranks.gather(None)
