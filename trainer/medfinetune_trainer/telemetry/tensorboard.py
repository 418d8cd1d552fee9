"""TensorBoard's events: every line of metrics.jsonl once more, as `tensorboard --logdir` reads it. Written by rank 0.

One file an attempt, numbered, so that TensorBoard reads them in order. An attempt that continues after step N begins its file by the mark at which TensorBoard
forgets what an earlier one told of later steps: no step shows twice. tensorboardX is no more than the format (0.3 MB); TensorBoard's own writer brings a web
server and 50 MB with it. Its `SummaryWriter` would put the machine's name into the file's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

OF_A_STEP = ("loss", "accuracy", "learning_rate", "gradient_norm", "tokens_per_second", "seconds")
OF_A_RANK = ("rss", "rss_peak", "vram_allocated", "vram_reserved", "vram_peak", "vram_used")


class Board:
    """The events of one attempt."""

    def __init__(self, folder: Path, resumed_step: int) -> None:
        """Begin the next file in `folder` for an attempt that stands at `resumed_step`. OSErrors of the volume."""
        from tensorboardX.proto import event_pb2, summary_pb2  # here, for the one rank that writes: it takes half a second
        from tensorboardX.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(file.name.rpartition(".")[2]) for file in folder.glob("events.out.tfevents.*[0-9]")), default=0)
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._file = RecordWriter(str(folder / f"events.out.tfevents.{number:06d}"))
        self._step = resumed_step
        self._write(file_version="brain.Event:2")
        self._write(session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START), step=resumed_step + 1)

    def add(self, line: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl; one that holds no figure adds nothing. A memory sample stands at the last step told of before it."""
        self._step = line.get("step", self._step)
        values = [self._summary.Value(tag=tag, simple_value=figure) for tag, figure in scalars(line)]
        if values:
            self._write(summary=self._summary(value=values), step=self._step, wall_time=datetime.fromisoformat(line["time"]).timestamp())
            self._file.flush()  # for whoever watches; and nothing of an attempt that is over may follow its last line

    def sync(self) -> None:
        """Return once all events are on disk."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, **fields: Any) -> None:
        self._file.write(self._event(**fields).SerializeToString())


def scalars(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Tag and figure of everything in a line that can be drawn."""
    if line["kind"] == "step":
        yield from ((f"train/{name}", line[name]) for name in OF_A_STEP if name in line)
    elif line["kind"] == "validation":
        for language, figures in line["by_language"].items():
            yield from ((f"validation_{name}/{language}", figure) for name, figure in figures.items())
    elif line["kind"] == "memory":
        yield from ((f"memory_{name}/rank_{line['rank']}", line[name]) for name in OF_A_RANK if name in line)
