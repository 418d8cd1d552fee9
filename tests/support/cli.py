"""The real command line for tests: run it to its end, or start it and wait for what it does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 600.0
"""Bound of every wait; a test that reaches it has failed."""


def medfinetune(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `medfinetune` to its end."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, env=os.environ | {"COLUMNS": "120"} | environment, timeout=SECONDS, check=False)


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "medfinetune_cli", *map(str, arguments)]


def wait_until(what: Callable[[], bool], seconds: float = SECONDS) -> bool:
    """Whether `what` has come true within the bound."""
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.02)
    return what()


def gone(pid: int, seconds: float = SECONDS) -> bool:
    """Whether a process has ended within the bound; one that nobody has waited for counts as ended."""
    return wait_until(lambda: _state(pid) in ("", "Z"), seconds)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
