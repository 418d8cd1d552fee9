"""Checkpoints while training goes on, and going on from one.

At a checkpoint each rank copies its state and trains on; a thread of each writes its shards, and rank 0's then hashes, seals and prunes. At most one is in
flight. Whether the threads of all ranks are done is told in the sum that every step makes anyway, so that a full or vanished volume ends every rank at the
same step with the same refusal.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch.distributed as dist
from medfinetune_api.errors import OutputConflict, Refusal
from medfinetune_api.plan import RunPlan

from medfinetune_trainer.artifacts import checkpoint
from medfinetune_trainer.artifacts.checkpoint import Position
from medfinetune_trainer.artifacts.state import finish_saving, load_state, start_saving
from medfinetune_trainer.optim.step import Stepper
from medfinetune_trainer.stages.train_record import Record
from medfinetune_trainer.telemetry.log import say


class Remembers(Protocol):
    """A part of the trainer whose state a checkpoint keeps besides the tensors: the same on every rank."""

    def state_dict(self) -> dict[str, Any]:
        """Its state in JSON's types; no later change shows in it."""

    def load_state_dict(self, state: Any) -> None:
        """Go on where `state_dict` was taken."""


@dataclass
class _InFlight:
    step: int
    started: float
    blocked: float
    """Seconds that training has stood still for it."""
    sealed: Future[float]
    """When this rank's part was done, on the clock of `started`."""


@dataclass
class Saver:
    """Writes the checkpoints of one attempt."""

    plan: RunPlan
    stepper: Stepper
    remembered: Mapping[str, Remembers]
    record: Record
    saved: int
    """Step of the newest complete checkpoint."""
    thread: Executor
    group: dist.ProcessGroup | None
    """Of the ranks' writing threads alone."""
    in_flight: _InFlight | None = None

    def settled(self) -> bool:
        """Whether this rank has nothing left to write."""
        return self.in_flight is None or self.in_flight.sealed.done()

    def start(self, step: int) -> None:
        """Begin the checkpoint of `step`, the last that is done, once the one in flight is complete. Collective. Raises as `finish`."""
        self.finish()
        started = time.monotonic()
        target = self.plan.folder.checkpoints / f"step-{step}"
        states = {name: each.state_dict() for name, each in self.remembered.items()}
        unfinished = self.stepper.ranks.from_zero(lambda: checkpoint.begin(target))
        writing = start_saving(unfinished, self.stepper.parts.module, self.stepper.optimizer, self.group)
        position = Position(plan_sha256=self.plan.sha256, step=step, states=states)
        sealed = self.thread.submit(self._seal, writing, unfinished, target, position)
        self.in_flight = _InFlight(step, started, time.monotonic() - started, sealed)

    def finish(self) -> None:
        """Wait until the checkpoint in flight, if there is one, is complete. Collective.

        Raises StorageFailed, OutputConflict: on every rank, whichever failed.
        """
        if self.in_flight is None:
            return
        one, waiting = self.in_flight, time.monotonic()
        error = one.sealed.exception()
        if error is not None and not isinstance(error, Refusal):
            raise error
        refusals = [refusal for refusal in self.stepper.ranks.gather(error) if refusal]
        self.in_flight = None
        if refusals:
            raise refusals[0]
        self.saved, sealed = one.step, one.sealed.result()
        self.record.checkpoint(one.step, one.blocked + max(0.0, sealed - waiting), sealed - one.started)

    def save(self, step: int) -> None:
        """Write the checkpoint of `step` unless there is one, and wait for it. Collective. Raises as `finish`."""
        self.finish()
        if step > self.saved:
            self.start(step)
            self.finish()

    def _seal(self, writing: Future[Any], unfinished: Path, target: Path, position: Position) -> float:
        """In the thread: this rank's shards, and on rank 0 what makes them a checkpoint."""
        main = self.stepper.ranks.rank == 0
        try:
            finish_saving(writing, target)
            if main:
                self.record.sync()  # or a checkpoint could outlive what metrics.jsonl tells of its steps
                checkpoint.complete(unfinished, target, position)
                checkpoint.prune(target.parent, position.step, self.plan.checkpoint.keep)
        finally:
            if main:
                checkpoint.discard(unfinished)
        return time.monotonic()


@contextmanager
def saving(plan: RunPlan, stepper: Stepper, remembered: Mapping[str, Remembers], record: Record, saved: int) -> Iterator[Saver]:
    """What writes the checkpoints after step `saved`; the one in flight is written to its end, whatever ends the block. Collective."""
    group = dist.new_group(backend="gloo") if dist.is_initialized() else None
    assert not isinstance(group, int)  # what a rank outside the group would get
    with ThreadPoolExecutor(1, thread_name_prefix="checkpoint") as thread:
        yield Saver(plan, stepper, remembered, record, saved, thread, group)


def resume(plan: RunPlan, stepper: Stepper, remembered: Mapping[str, Remembers]) -> int:
    """Continue from the newest complete checkpoint; the steps it holds, 0 where there is none. Collective.

    Raises OutputConflict where it is another plan's, or not of what is trained here. StorageFailed.
    """
    found = stepper.ranks.from_zero(lambda: checkpoint.newest(plan.folder.checkpoints, plan.sha256))
    if found is None:
        return 0
    folder, position = found
    if position.states.keys() != remembered.keys():
        remedy = "Continue with the version that wrote it, or remove the run's checkpoints to start afresh."
        raise OutputConflict(str(folder), found=f"states of {sorted(position.states)}", expected=f"{sorted(remembered)}", remedy=remedy)
    load_state(folder, stepper.parts.module, stepper.optimizer)
    for name, each in remembered.items():
        each.load_state_dict(position.states[name])
    if stepper.ranks.rank == 0:
        say("resumed", step=position.step, checkpoint=folder.name)
    return position.step
