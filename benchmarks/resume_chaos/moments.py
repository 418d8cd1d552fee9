"""When a process is killed: spread over a life's start, its steps, the writing of its checkpoints and of the adapter, by what can be seen from outside."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path

from medfinetune_api.plan import RunPlan

from benchmarks.resume_chaos.ledger import lines

START_SECONDS = 20.0
"""Longest wait into a start, that is while a rank imports or loads; a faster start is killed at its first line."""
STEPS, CHECKPOINTS = 7, 2
"""Bounds of the steps, and of the checkpoints, that a life may begin before it is killed."""
WRITING_SECONDS = 0.1
"""Longest wait into the writing of a checkpoint."""


class Moment(StrEnum):
    """Where in a life a process is killed."""

    START = "importing or loading"
    STEP = "between two lines of metrics.jsonl"
    CHECKPOINT = "while a checkpoint is written"
    FINAL = "while the adapter is written"


def drawn(kills: int, chance: random.Random) -> Iterator[Moment]:
    """`kills` moments in random order, but for those at the end of training, which come last: a fifth, two fifths, three tenths and a tenth."""
    final, start, checkpoint = max(1, kills // 10), max(1, kills // 5), max(1, kills * 3 // 10)
    early = [Moment.START] * start + [Moment.CHECKPOINT] * checkpoint + [Moment.STEP] * max(0, kills - final - start - checkpoint)
    chance.shuffle(early)
    yield from (early + [Moment.FINAL] * final)[:kills]


def arrival(moment: Moment, plan: RunPlan, began: str, chance: random.Random) -> Callable[[], bool]:
    """Whether the moment has come in the life that began at `began` (a time of metrics.jsonl); to be asked again and again once its ranks are processes."""
    if moment is Moment.START:
        due = time.monotonic() + chance.uniform(0, START_SECONDS)
        return lambda: time.monotonic() > due or bool(lines(plan, "start", began))
    if moment is Moment.STEP:
        steps = chance.randint(1, STEPS)
        return lambda: len(lines(plan, "step", began)) >= steps
    checkpoints, delay = plan.folder.checkpoints, chance.uniform(0, WRITING_SECONDS)
    if moment is Moment.CHECKPOINT:
        return _writing(checkpoints, ".step-", chance.randint(1, CHECKPOINTS), delay, lambda: bool(lines(plan, "start", began)))
    return _writing(checkpoints, ".final.", 1, delay / 4, lambda: bool(lines(plan, "start", began)))


def _writing(folder: Path, prefix: str, count: int, delay: float, begun: Callable[[], bool]) -> Callable[[], bool]:
    """True from `delay` seconds after the `count`-th new folder of that prefix was seen; what is there when training has begun is an earlier life's."""
    left: set[str] | None = None
    seen: set[str] = set()
    due: float | None = None

    def arrived() -> bool:
        nonlocal left, due
        if left is None:
            left = _names(folder, prefix) if begun() else None
        elif due is None:
            seen.update(_names(folder, prefix) - left)
            due = time.monotonic() + delay if len(seen) >= count else None
        return due is not None and time.monotonic() >= due

    return arrived


def _names(folder: Path, prefix: str) -> set[str]:
    try:
        return {path.name for path in folder.iterdir() if path.name.startswith(prefix)}
    except FileNotFoundError:
        return set()
