"""Follow one run until it ends: a live display on a terminal, elsewhere one line a change.

The cluster is asked anew each time: nothing is missed when a connection is cut.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.live import Live

from medfinetune_cli.cluster_client import Cluster
from medfinetune_cli.cluster_errors import Unreachable
from medfinetune_cli.output import Format, console, say
from medfinetune_cli.run_state import RunState
from medfinetune_cli.status import show_run
from medfinetune_cli.status_view import run_view
from medfinetune_cli.waiting import wait_of

PAUSE = 2.0
"""Seconds between two looks."""


def follow(cluster: Cluster, name: str, form: Format) -> int:
    """Show the run until it has ended; its exit code. Raises NotFound where it is deleted meanwhile."""
    live = form is Format.TEXT and sys.stdout.isatty()
    with _display() if live else _lines() as show:
        body = _until_ended(cluster, name, show)
    if not live:
        show_run(body, form)
    return int(RunState.of(body).exit_code)


def _until_ended(cluster: Cluster, name: str, show: Callable[[RunState], None]) -> dict[str, Any]:
    """An API server that is away for a while is waited for: the run goes on without it. One that never answered is a Refusal."""
    body, away = cluster.run(name), False
    while True:
        run = RunState.of(body)
        show(run)
        if run.ended:
            return body
        time.sleep(PAUSE)
        try:
            body, away = cluster.run(name), False
        except Unreachable as refusal:
            if not away:
                say(f"{refusal.where}: {refusal.found}; the run goes on without it, asking again until it answers")
            away = True


@contextmanager
def _display() -> Iterator[Callable[[RunState], None]]:
    with Live(console=console("stdout"), auto_refresh=False, vertical_overflow="visible") as live:
        yield lambda run: live.update(run_view(run, datetime.now(UTC)), refresh=True)


@contextmanager
def _lines() -> Iterator[Callable[[RunState], None]]:
    seen = ""

    def show(run: RunState) -> None:
        nonlocal seen
        line = _line(run)
        if line != seen:
            say(f"{run.name}  {line}")
            seen = line

    yield show


def _line(run: RunState) -> str:
    """The run in one line: phase, attempt, progress, what it waits for."""
    attempt, progress, wait = run.last_attempt, run.status.progress, wait_of(run)
    parts = [run.phase]
    if attempt and not run.ended:
        parts.append(f"{attempt.stage} attempt {attempt.number}")
    if progress and not run.ended:
        parts.append(f"step {progress.step} of {progress.total_steps}")
    if wait:
        parts.append(f"waits for {wait.what}")
    return "  ".join(parts)
