"""Server processes for tests: each in its own process group, with a log file, waited for with a deadline, ended by its id."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

SECONDS = 120.0
"""Bound of every wait: far above what anything here takes, so that only a defect reaches it."""

_starter = ThreadPoolExecutor(1, "starts-servers")
"""Starts every server: a server ends with the thread that started it (see _until_parent_dies), and this one lives as long as the tests."""


_given: set[int] = set()
"""Ports that this process was given."""


def wait_until(what: str, condition: Callable[[], bool], seconds: float = SECONDS, evidence: Callable[[], str] = str) -> None:
    """Return once `condition` holds. Raises AssertionError with `what` and `evidence()` after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}\n{evidence()}"
        time.sleep(0.05)


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port nobody listens on at `address`.

    It lies outside the range that the kernel hands to outgoing connections: a client that keeps knocking while a server is down would otherwise
    be given the very port one day, connect to itself and hold it. Each worker of a test run draws from ports of its own, and none twice: a server binds
    its port seconds after it was found free.
    """
    first = 20_000 + 1_000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10)
    while True:
        port = random.SystemRandom().randrange(first, first + 1_000)
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
        _given.add(port)
        return port


class Server:
    """One running program: `command`, its output in `log`."""

    def __init__(self, command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.name, self.log = Path(command[0]).name, log
        with log.open("ab") as output:
            start = partial(subprocess.Popen, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True)
            self._process = _starter.submit(start, [*_until_parent_dies(), *command]).result()

    @property
    def pid(self) -> int:
        """The process id, which is the process group's too."""
        return self._process.pid

    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def wait_for(self, what: str, condition: Callable[[], bool], seconds: float = SECONDS) -> None:
        """Return once `condition` holds. Raises AssertionError with the end of the log if the process ends first or the time is over."""
        wait_until(f"{self.name}: {what}", lambda: self.ended() or condition(), seconds, self.tail)
        assert not self.ended(), f"{self.name} ended with {self._process.returncode} before {what}\n{self.tail()}"

    def tail(self, lines: int = 30) -> str:
        """The last lines of the log."""
        return "\n".join([f"{self.log}:", *self.log.read_text(errors="replace").splitlines()[-lines:]])

    def kill(self) -> None:
        """End it, and what else is in its process group, by SIGKILL."""
        if not self.ended():
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(SECONDS)


def _until_parent_dies() -> list[str]:
    """Where the system can (Linux), the kernel ends the program with whoever started it: a killed test run leaves nothing behind."""
    return [setpriv, "--pdeathsig", "KILL"] if (setpriv := shutil.which("setpriv")) else []
