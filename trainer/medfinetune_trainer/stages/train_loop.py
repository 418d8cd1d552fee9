"""The training loop: every step's window in order, validation and checkpoints on the way, the adapter at the end.

It reads top to bottom as training goes. What a step is stands in `optim`, what the model is in `model`, what a checkpoint is in `artifacts`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch
from medfinetune_api.choices import Stage
from medfinetune_api.errors import Interrupted
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import Prepared

from medfinetune_trainer.data.batch import PackedBatch, collate
from medfinetune_trainer.data.epochs import VALIDATION, epoch_name
from medfinetune_trainer.data.packed import PackedRows
from medfinetune_trainer.model.sharding import is_alone
from medfinetune_trainer.optim.fitting import Fitting
from medfinetune_trainer.optim.optimizer import set_learning_rate
from medfinetune_trainer.optim.ranks import Ranks
from medfinetune_trainer.optim.schedule import learning_rate
from medfinetune_trainer.optim.step import Stepper
from medfinetune_trainer.optim.validation import validate
from medfinetune_trainer.optim.window import Window, windows
from medfinetune_trainer.stages.judging import Judge
from medfinetune_trainer.stages.outcome import STOP
from medfinetune_trainer.stages.saving import Remembers, Saver, resume, saving
from medfinetune_trainer.stages.train_record import Record, recording
from medfinetune_trainer.stages.trainee import trainee
from medfinetune_trainer.telemetry.heartbeat import beat

T = TypeVar("T")


def train(plan: RunPlan, prepared: Prepared, ranks: Ranks, device: torch.device, folder: Path) -> Mapping[str, float]:
    """Train as one rank of the gang and return the stage's numbers; `folder` is the agent's. Collective.

    Raises:
        Diverged: loss or gradient is not finite. Interrupted: a stop was asked for; a checkpoint holds all that was done.
        OutputConflict: the newest checkpoint is another plan's. InvalidModel, InvalidManifest, StorageFailed.
    """
    stepper = trainee(plan, prepared, ranks, device)
    judge = Judge.of(plan, stepper, prepared.total_steps)
    remembered: dict[str, Remembers] = {"loss_scale": stepper.scale, **judge.remembered}
    done = resume(plan, stepper, remembered)
    judge.resume(done)
    with recording(plan, prepared, ranks, device, folder, done) as record, saving(plan, stepper, remembered, record, done) as saver:
        fitting = Fitting(Stage.TRAIN, stepper.micro_batch, may_halve=plan.training.micro_batch == "Auto" and is_alone(stepper.parts.module))
        loop = _Loop(plan, prepared, stepper, judge, record, saver, fitting, stop=(folder / STOP).exists)
        loop.run(done)
        saver.finish()
        beat("saving what was trained")
        judge.save_final()
        return judge.numbers(record.snapshot.step) | record.numbers(ranks)


@dataclass
class _Loop:
    plan: RunPlan
    prepared: Prepared
    stepper: Stepper
    judge: Judge
    record: Record
    saver: Saver
    fitting: Fitting
    stop: Callable[[], bool]

    def run(self, done: int) -> None:
        """Every step after `done`, to the last, or to the one after which the validation loss says that it is enough."""
        epochs = [_Rows(self.plan, epoch_name(epoch)) for epoch in range(self.plan.training.epochs)]
        held_out = _Rows(self.plan, VALIDATION)
        for window in windows([len(rows) for rows in epochs], self.plan.rows_per_step, done):
            if self.judge.stopped:  # now, or in the attempt that this one continues
                break
            self._heed(window.step - 1)
            self._step(window, epochs[window.epoch])
            if len(held_out) and self.judge.due(window):
                self._validate(window, held_out)
            if window.step % self.plan.checkpoint.every_steps == 0 or window.step == self.prepared.total_steps or self.judge.stopped:
                self.saver.start(window.step)
        if self.judge.stopped and self.judge.stopping and self.record.snapshot.step < self.prepared.total_steps:
            self.record.stopped(self.judge.stopping.best_step)

    def _step(self, window: Window, rows: _Rows) -> None:
        training, started = self.plan.training, time.monotonic()
        rate = learning_rate(training.learning_rate, training.scheduler, window.step, self.prepared.total_steps)
        set_learning_rate(self.stepper.optimizer, rate)
        figures = self._fit(window, lambda size: replace(self.stepper, micro_batch=size).step(window, rows))
        self.record.step(window, figures, rate, time.monotonic() - started)

    def _validate(self, window: Window, rows: _Rows) -> None:
        qualities = self._fit(window, lambda size: validate(self.stepper.parts, rows, rows.packed.languages, self.stepper.ranks, size))
        self.record.validation(window, qualities)
        self.judge.observe(window.step, qualities, self.saver.saved)

    def _fit(self, window: Window, work: Callable[[int], T]) -> T:
        return self.fitting.run(work, lambda tried: self.record.halved(window.step, tried, self.fitting.rows))

    def _heed(self, done: int) -> None:
        """All ranks stop after the same step, whichever was asked, and learn after the same step how a checkpoint ended. Raises Interrupted; as `Saver`."""
        beat(f"between steps {done} and {done + 1}")
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
