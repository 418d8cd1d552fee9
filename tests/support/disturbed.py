"""Misfortunes in the middle of training: what a test does to a rank before its n-th step, and to a run's folder."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medfinetune_api.errors import Refusal
from medfinetune_api.plan import RunPlan
from medfinetune_trainer.artifacts.checkpoint import MANIFEST
from support.train import SECONDS, train_here
from torch.optim.optimizer import register_optimizer_step_pre_hook


@contextmanager
def before_step(number: int, misfortune: Callable[[], object]) -> Iterator[None]:
    """Within the block, `misfortune()` happens before the `number`-th update of an optimizer."""
    updates: list[int] = []

    def count(*_: Any) -> None:
        updates.append(1)
        if len(updates) == number:
            misfortune()

    handle = register_optimizer_step_pre_hook(count)
    try:
        yield
    finally:
        handle.remove()


def train_on_full_volume(rank: int, plan_json: str, folder: str, full: int) -> tuple[str, str]:
    """Train as one rank of a gang in which rank `full` finds no room for its shard from the fourth step on; the refusal's class and words."""
    plan = RunPlan.model_validate_json(plan_json)

    def fill() -> None:
        until_complete(plan, 2)
        if rank == full:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))

    try:
        with before_step(4, fill):
            train_here(plan, Path(folder))
    except Refusal as refusal:
        return type(refusal).__name__, str(refusal)
    return "", "trained"


def until_complete(plan: RunPlan, step: int) -> None:
    """Wait until the checkpoint of `step` has its name; AssertionError where that never comes."""
    deadline = time.monotonic() + SECONDS
    while not (plan.folder.checkpoints / f"step-{step}" / MANIFEST).exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def torn_after(plan: RunPlan, step: int, root: Path) -> RunPlan:
    """A copy of a finished run below `root`, without its adapter and with every checkpoint after `step` cut off in the middle of a shard."""
    shutil.copytree(plan.folder.root, root / plan.folder.root.name)
    copy = plan.model_copy(update={"mounts": plan.mounts.model_copy(update={"output": str(root)})})
    shutil.rmtree(copy.folder.final)
    for shard in copy.folder.checkpoints.glob("step-*/*.distcp"):
        if int(shard.parent.name.removeprefix("step-")) > step:
            shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    return copy
