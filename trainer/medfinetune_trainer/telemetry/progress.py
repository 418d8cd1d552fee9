"""Progress for a person on a terminal, and for a machine everywhere else: a Rich bar with the time left, or one JSON object a line."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from medfinetune_trainer.telemetry.log import say


class Steps:
    """Progress over optimizer steps; use as a context manager."""

    def __init__(self, total: int, done: int) -> None:
        """Stand at `done` of `total` steps."""
        columns = (TextColumn("train"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True, markup=False, emoji=False)) if sys.stderr.isatty() else None
        self._task = self._bar.add_task("", total=total, completed=done) if self._bar else None
        self._total = total

    def __enter__(self) -> Steps:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, number: int, loss: float, tokens_per_second: float, seconds_left: float) -> None:
        """Step `number` is done."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=number, description=f"loss {loss:.4f}  {tokens_per_second:,.0f} tokens/s")
        else:
            say("step", step=number, total=self._total, loss=loss, tokens_per_second=round(tokens_per_second, 1), seconds_left=round(seconds_left, 1))

    def event(self, event: str, /, **fields: object) -> None:
        """Something else happened: a validation, a checkpoint."""
        if self._bar:
            self._bar.console.print(event, *(f"{name}={value}" for name, value in fields.items()), highlight=False)
        else:
            say(event, **fields)
