"""The processes of one stage, from start to end: signals are forwarded once, a lost member ends the others, and nothing outlives us.

Each process leads a process group of its own, so that Ctrl-C reaches only us and each stage hears of it exactly once. The kernel sends it SIGTERM
when we die, however that comes about; each stage sees to its own workers.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from medfinetune_cli.launch import STOP_SECONDS, Launch

GRACE_SECONDS = 15.0
"""What a stage gets on top of its own bound, to end its workers itself."""
LOST_SECONDS = 30.0
"""How long the rest of a gang may take to end once a member has failed: there is no checkpoint to write without it."""
_PR_SET_PDEATHSIG = 1
_PATIENT_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that spin at a barrier while a peer waits for the same core made evaluation ten times slower on a busy machine. The caller may differ."""


@dataclass(frozen=True)
class Ended:
    """How one process ended; `returncode` is negative where a signal ended it."""

    launch: Launch
    returncode: int
    last_line: str
    """Last line of its stdout: the StageResult, unless it was killed before it could say."""
    log: Path | None
    """Its stderr, where that did not pass through."""


class Stop:
    """What SIGTERM, SIGINT and SIGHUP ask of a run: the first to end in good order, the second to end at once."""

    def __init__(self, heard: Callable[[], None] = lambda: None) -> None:
        """`heard` is called on the first signal: whoever pressed Ctrl-C should see that it was noticed."""
        self._heard = heard
        self.asked = asyncio.Event()
        self.at_once = asyncio.Event()

    def listen(self) -> None:
        """Take over the signals of the running loop; one that the caller ignores (nohup) stays ignored."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                asyncio.get_running_loop().add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        if self.asked.is_set():
            self.at_once.set()
        else:
            self.asked.set()
            self._heard()


async def run_to_end(launches: Sequence[Launch], scratch: Path, stop: Stop) -> list[Ended]:
    """Start every launch and wait until all have ended, in whatever way. Returns how, in the order in which they ended.

    `scratch` takes their stdout, and the stderr of all but node 0, whose progress is the user's to see.
    """
    members: list[_Member] = []
    try:
        for launch in launches:
            members.append(await _Member.start(launch, scratch))
        return await _watch(members, stop)
    finally:
        for member in members:
            member.kill()


async def _watch(members: Sequence[_Member], stop: Stop) -> list[Ended]:
    ended: list[Ended] = []
    failed = asyncio.Event()

    async def wait_for(member: _Member) -> None:
        ended.append(await member.end())
        if ended[-1].returncode:
            failed.set()

    async with asyncio.TaskGroup() as watchers:
        over = watchers.create_task(_all([watchers.create_task(wait_for(member)) for member in members]))
        await _first(over, stop.asked, failed)
        if not over.done():
            for member in members:
                member.terminate()
            await _first(over, stop.at_once, seconds=STOP_SECONDS + GRACE_SECONDS if stop.asked.is_set() else LOST_SECONDS)
        for member in members:
            member.kill()
    return ended


class _Member:
    """One process of the gang."""

    def __init__(self, launch: Launch, process: asyncio.subprocess.Process, out: Path, log: Path | None) -> None:
        self._launch, self._process, self._out, self._log = launch, process, out, log

    @classmethod
    async def start(cls, launch: Launch, scratch: Path) -> _Member:
        out = scratch / f"{launch.stage}-{launch.node}.out"
        log = scratch / f"{launch.stage}-{launch.node}.log" if launch.node else None
        with out.open("wb") as stdout, log.open("wb") if log else nullcontext() as stderr:
            process = await asyncio.create_subprocess_exec(
                *launch.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=_PATIENT_THREADS | os.environ | launch.environment,
                process_group=0,
                preexec_fn=_end_with_parent(),
            )
        return cls(launch, process, out, log)

    async def end(self) -> Ended:
        code = await self._process.wait()
        return Ended(self._launch, code, _last_line(self._out), self._log)

    def terminate(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()

    def kill(self) -> None:
        """SIGKILL to the whole group, while its leader lives: afterwards the number may be another's."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


async def _all(tasks: Iterable[asyncio.Task[None]]) -> None:
    await asyncio.wait(tasks)


async def _first(over: asyncio.Task[None], *events: asyncio.Event, seconds: float | None = None) -> None:
    """Return when `over` or one of `events` has come, or the time is over."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait([over, *waits], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else ""


def _end_with_parent() -> Callable[[], None] | None:
    """What a child does before it starts: ask the kernel for SIGTERM when we die. Only Linux can."""
    if sys.platform != "linux":
        return None
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(128 + signal.SIGTERM)

    return ask
