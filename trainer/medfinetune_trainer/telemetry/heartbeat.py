"""A rank's sign of life: how often it has got somewhere, and what it is at, in one small file that its agent reads.

Whatever may take long says `beat()` each time it has moved: a micro-batch, a part of a file, a weight. Nothing else is progress: a rank that waits for a peer
does not beat, and one that hangs does not either. The same rank answers STACK_SIGNAL with the Python stack of each of its threads, written by C code that
needs neither the interpreter nor its lock, so that a rank that hangs in native code answers too.

A process that is no rank counts its beats for itself: `stages/self_watch` looks at them.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from dataclasses import dataclass
from pathlib import Path

STACK_SIGNAL = signal.SIGUSR1
STARTING = "starting"
"""Phase of a rank that imports what it needs."""
_LENGTH = 128
"""Bytes of the file; it is overwritten in one call, several times a second."""


@dataclass(frozen=True)
class Pulse:
    """What a rank's file says."""

    beats: int
    """How often the rank has moved since it began."""
    phase: str
    """What it is at: `step 12, micro-batch 3`."""


@dataclass
class _Heart:
    descriptor: int
    beats: int = 0
    phase: str = STARTING


_mine: _Heart | None = None
"""Of this process: a process is one rank."""
_moved = 0
"""How often this process has moved, rank or not."""


def start(folder: Path, rank: int) -> None:
    """Let this process beat as `rank`, and answer STACK_SIGNAL, in files of the agent's folder."""
    global _mine
    faulthandler.register(STACK_SIGNAL, file=stack_file(folder, rank).open("wb"), all_threads=True)
    _mine = _Heart(os.open(heartbeat_file(folder, rank), os.O_WRONLY | os.O_CREAT, 0o600))
    beat()


def beat(phase: str | None = None) -> None:
    """This rank has moved; from now on it is at `phase`, where one is given. Takes microseconds; any thread may call it."""
    global _moved
    _moved += 1
    if _mine is not None:
        _mine.beats, _mine.phase = _mine.beats + 1, phase or _mine.phase
        os.pwrite(_mine.descriptor, f"{_mine.beats} {_mine.phase}".encode()[:_LENGTH].ljust(_LENGTH), 0)


def moved() -> int:
    """How often this process has moved since it began."""
    return _moved


def read_pulse(folder: Path, rank: int) -> Pulse | None:
    """What the rank's file says now; None where it has not begun."""
    try:
        beats, _, phase = heartbeat_file(folder, rank).read_text(encoding="utf-8", errors="replace").rstrip().partition(" ")
    except FileNotFoundError:
        return None
    return Pulse(int(beats), phase) if beats else None


def heartbeat_file(folder: Path, rank: int) -> Path:
    """Where a rank's sign of life lies in its agent's folder."""
    return folder / f"heartbeat-{rank:05d}"


def stack_file(folder: Path, rank: int) -> Path:
    """Where a rank's stacks appear after STACK_SIGNAL."""
    return folder / f"stack-{rank:05d}"
