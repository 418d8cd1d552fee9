"""`metrics.jsonl`: one object a line for every step, validation, checkpoint and memory sample, written by rank 0.

Every line has `kind`, `time` and, but for memory samples, `step`. A stage that continues from the checkpoint of step N first drops the lines of later steps,
which it will write again, and a last line that was torn; so the file always tells one story. TensorBoard's events tell the same story, line by line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from medfinetune_trainer.artifacts import fence
from medfinetune_trainer.artifacts.files import storage_errors, write_text
from medfinetune_trainer.telemetry.tensorboard import Board


class History:
    """An open metrics.jsonl; lines may come from several threads."""

    def __init__(self, path: Path, resumed_step: int, board: Path | None = None) -> None:
        """Open `path` for a run that stands at `resumed_step`; `board` is the folder of TensorBoard's events. Raises StorageFailed."""
        self._path, self._lock = path, Lock()
        kept = [line for line in read(path) if _step(line) <= resumed_step]
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        with storage_errors(path):
            self._file = path.open("a", encoding="utf-8", buffering=1)
            self._board = Board(board, resumed_step) if board else None

    def write(self, kind: str, **figures: Any) -> None:
        """Append one line; None figures are left out. Raises StorageFailed; OutputConflict as `fence.check`."""
        line = {"kind": kind, "time": datetime.now(UTC).isoformat(timespec="milliseconds")} | {
            name: value for name, value in figures.items() if value is not None
        }
        with self._lock, storage_errors(self._path):
            fence.check()
            self._file.write(json.dumps(line) + "\n")
            if self._board:
                self._board.add(line)

    def sync(self) -> None:
        """Return once every line is on disk. Raises StorageFailed."""
        with self._lock, storage_errors(self._path):
            os.fsync(self._file.fileno())
            if self._board:
                self._board.sync()

    def close(self) -> None:
        """Close the file. Raises StorageFailed."""
        with storage_errors(self._path):
            self._file.close()
            if self._board:
                self._board.close()


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a metrics.jsonl, without a last one that was torn; nothing where there is no file."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict):
                yield line


def _step(line: dict[str, Any]) -> float:
    """The step that a line tells of, 0 for one of none; a damaged line is later than any step."""
    step = line.get("step", 0)
    return step if isinstance(step, int) else float("inf")
