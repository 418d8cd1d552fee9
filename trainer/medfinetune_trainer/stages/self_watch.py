"""A stage's watch over itself: a process that gets nowhere, on a volume that no longer answers say, ends as Stalled and does not hold its machine all night.

Ranks are watched by their agent (`watchdog`); this is for what has no agent: prepare, evaluate in one process, and the agent before its ranks begin. The same
signs count (`telemetry/heartbeat`), and processor time: what computes is left alone. Nothing can be raised in a thread that stands in a system call: the
program ends from this thread.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from medfinetune_api.choices import Stage
from medfinetune_api.errors import Stalled

from medfinetune_trainer.stages.patience import LONGEST_REST, REMEDY, stall_seconds
from medfinetune_trainer.telemetry.heartbeat import moved
from medfinetune_trainer.telemetry.log import say

IDLE = 0.05
"""Share of a processor below which a process stands still; its metrics take less."""


@contextmanager
def watched(stage: Stage, end: Callable[[Stalled], None]) -> Iterator[None]:
    """While the block runs, call `end` with the refusal and leave with its code once nothing has moved for MEDFINETUNE_STALL_SECONDS.

    Raises InvalidManifest where that is no number of seconds.
    """
    seconds, over = stall_seconds(), threading.Event()
    thread = threading.Thread(target=_watch, args=(stage, seconds, over, threading.get_ident(), end), name="self-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def _watch(stage: Stage, seconds: float, over: threading.Event, main: int, end: Callable[[Stalled], None]) -> None:
    rest, still, seen, used = min(LONGEST_REST, seconds / 50), 0.0, moved(), time.process_time()
    while not over.wait(rest):
        beats, computed = moved(), time.process_time()
        still = still + rest if beats == seen and computed - used < IDLE * rest else 0.0
        seen, used = beats, computed
        if still > seconds:
            place = _place(sys._current_frames().get(main))
            say("stage stands still", stage=stage.value, at=place)
            refusal = Stalled(stage.value, found=f"no progress for {still:.0f} s at {place}", expected=f"a sign of life within {seconds:.0f} s", remedy=REMEDY)
            end(refusal)
            os._exit(refusal.exit)


def _place(frame: FrameType | None) -> str:
    """File and line of the innermost call of the product's own, and the function that it waits in; no values."""
    calls = traceback.extract_stack(frame) if frame else []
    own = [call for call in calls if f"{os.sep}medfinetune_" in call.filename]
    places = [f"{Path(call.filename).name}:{call.lineno} {call.name}" for call in (*own[-1:], *calls[-1:])]
    return " in ".join(dict.fromkeys(places)) or "an unknown place"
