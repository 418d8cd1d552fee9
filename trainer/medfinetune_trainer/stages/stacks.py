"""Where a silent rank stands: what the kernel says of its process, and the Python stacks that faulthandler writes when it is asked.

faulthandler and not py-spy: it is Python's own, needs no right to trace another process, and answers from within native code. It cannot answer for a process
that is stopped or sleeps uninterruptibly; there the kernel's word is the finding.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from medfinetune_trainer.telemetry.heartbeat import STACK_SIGNAL, stack_file

ANSWER_SECONDS = 5.0
"""How long a rank may take to write its stacks: it is C code, and only a machine without a free core makes it wait."""
WAITS_WITHIN = 3
"""Innermost frames among which torch.distributed's stand where a rank waits for its peers; further out it may only have called what works."""
OWN, PEERS = "medfinetune_trainer/", "torch/distributed/"

_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+) in (?P<function>.*)$')
_UNABLE = {
    psutil.STATUS_STOPPED: "stopped by a signal",
    psutil.STATUS_TRACING_STOP: "stopped by a debugger",
    psutil.STATUS_DISK_SLEEP: "in uninterruptible sleep: it waits for storage or a driver",
    psutil.STATUS_ZOMBIE: "ended, and not yet buried",
    psutil.STATUS_DEAD: "ended, and not yet buried",
}


@dataclass(frozen=True)
class Stack:
    """Where one rank stands."""

    unable: str | None
    """What keeps it from answering, as the kernel has it; None where it answers."""
    threads: tuple[tuple[str, ...], ...] = ()
    """Frames `file:line in function` of each thread, the innermost first; the main thread last. Code positions only, never a value."""

    @property
    def waits(self) -> bool:
        """Whether the main thread waits for the other ranks in a collective."""
        return any(PEERS in frame for frame in self.main[:WAITS_WITHIN])

    @property
    def main(self) -> tuple[str, ...]:
        """Frames of the main thread."""
        return self.threads[-1] if self.threads else ()

    @property
    def place(self) -> str | None:
        """The innermost frame of this product's code in the main thread, else the innermost of all; None where no stack was to be had."""
        return next((frame for frame in self.main if frame.startswith(OWN)), self.main[0] if self.main else None)


def stack_of(process: psutil.Process, folder: Path, rank: int, *, asked: bool = True) -> Stack:
    """What the kernel says of a rank of this node, and where it is `asked` for its stacks and can answer, those."""
    try:
        unable = _UNABLE.get(process.status())
        if unable or not asked:
            return Stack(unable)
        file = stack_file(folder, rank)
        earlier = file.stat().st_size
        process.send_signal(STACK_SIGNAL)
    except psutil.NoSuchProcess:
        return Stack(_UNABLE[psutil.STATUS_DEAD])
    text = _written(file, earlier)
    return Stack(None if text else "not answering", threads(text))


def threads(text: str) -> tuple[tuple[str, ...], ...]:
    """The stacks in faulthandler's text, by thread in its order."""
    blocks = [[match for line in block.splitlines() if (match := _FRAME.match(line))] for block in text.strip().split("\n\n")]
    return tuple(tuple(f"{_short(frame['file'])}:{frame['line']} in {frame['function']}" for frame in frames) for frames in blocks if frames)


def _written(file: Path, earlier: int) -> str:
    """What is in `file` after its first `earlier` bytes, once it grows no more; empty where nothing comes."""
    deadline, text = time.monotonic() + ANSWER_SECONDS, ""
    while time.monotonic() < deadline:
        time.sleep(0.1)
        before, text = text, file.read_bytes()[earlier:].decode(errors="replace")
        if text and text == before:
            break
    return text


def _short(file: str) -> str:
    """A file by its place in its package: where the machine keeps packages is nobody's business."""
    for root in ("/site-packages/", f"/{OWN}"):
        _, found, after = file.rpartition(root)
        if found:
            return f"{OWN}{after}" if OWN in root else after
    return "/".join(Path(file).parts[-2:])
