"""One attempt writes. The number of the attempt at work stands in the run's folder, and is looked at immediately before anything becomes visible there.

A node that is lost to the cluster may still run: what is left there of an older attempt, a ghost, finds the newer one's number and stops, having changed
nothing. No lock could do this, because a ghost would hold it.

MEDFINETUNE_ATTEMPT numbers the attempts of a stage from 1; a later stage counts as newer than any attempt of an earlier one. The same attempt may start again.
Without the variable nothing is fenced, and a lock holds the folder (`stages/holding.py`).
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medfinetune_api.choices import Stage
from medfinetune_api.errors import InvalidManifest, OutputConflict

FENCE = ".fence"
"""Name of the file in a run folder; it stays when all else is purged."""
ATTEMPT = "MEDFINETUNE_ATTEMPT"

_STAGES = tuple(Stage)


@dataclass(frozen=True, order=True)
class Attempt:
    """One try of one stage; the later in a run's life, the greater."""

    stage_number: int
    """Position of the stage in Stage."""
    number: int

    def __str__(self) -> str:
        """As people name it."""
        return f"attempt {self.number} of {_STAGES[self.stage_number]}"


@dataclass(frozen=True)
class _Fence:
    file: Path
    attempt: Attempt


_mine: _Fence | None = None
"""Of this process: every thread and every writer in it belongs to one attempt."""


@contextmanager
def fenced(root: Path, stage: Stage) -> Iterator[bool]:
    """While the block runs, `check` speaks for the attempt that the environment names; yields False where it names none, and `check` lets everything pass.

    Raises InvalidManifest where MEDFINETUNE_ATTEMPT is no number from 1 up.
    """
    global _mine
    before, _mine = _mine, _of_environment(root, stage)
    try:
        yield _mine is not None
    finally:
        _mine = before


def check() -> None:
    """Raise OutputConflict where a newer attempt has the folder. Else this one has it from now on, also where an older one wrote its number later."""
    if _mine is None:
        return
    found = _read(_mine.file)
    if found is not None and found > _mine.attempt:
        remedy = "Nothing: this one is obsolete and has stopped."
        raise OutputConflict(str(_mine.file), found=f"{found} at work", expected=f"none newer than {_mine.attempt}", remedy=remedy)
    if found != _mine.attempt:
        _write(_mine)


def number() -> int | None:
    """Of this process' attempt of its stage; None where the environment names none."""
    return _mine.attempt.number if _mine else None


def cause_of(error: BaseException) -> BaseException:
    """`error`, or the conflict behind it: files that a newer attempt has removed look to an older one like damage."""
    try:
        check()
    except OutputConflict as conflict:
        return conflict
    except OSError:
        return error
    return error


def _of_environment(root: Path, stage: Stage) -> _Fence | None:
    number = os.environ.get(ATTEMPT)
    if number is None:
        return None
    if not number.isdecimal() or int(number) < 1:
        remedy = "Let the operator set it, or unset it."
        raise InvalidManifest(ATTEMPT, found=number[:20], expected="a whole number from 1 up", remedy=remedy)
    return _Fence(root / FENCE, Attempt(_STAGES.index(stage), int(number)))


def _read(file: Path) -> Attempt | None:
    """Whose the folder is. It is opened anew each time: that is when a network volume asks its server."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Attempt(_STAGES.index(Stage(found["stage"])), int(found["attempt"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        remedy = "Find out what wrote it; once no pod of this run is left, remove it."
        raise OutputConflict(str(file), found="a fence that cannot be read", expected="the stage and attempt at work", remedy=remedy) from error


def _write(fence: _Fence) -> None:
    temporary = fence.file.with_name(f"{FENCE}.{secrets.token_hex(4)}")
    with temporary.open("w", encoding="utf-8") as opened:
        opened.write(json.dumps({"stage": _STAGES[fence.attempt.stage_number], "attempt": fence.attempt.number}) + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    temporary.replace(fence.file)
