"""The operator's lives: each a process that ends by SIGKILL, at random or immediately before or after a write; every kind of write has its turn."""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.operator_setup import ROOT, operator_environment

from cluster.processes import Server  # isort: skip  # found through operator_setup

START_SECONDS = 30.0
"""Within which an operator makes its first write, on the slowest machine."""
PATIENCE = 6.0
"""Seconds until a life whose write does not come is ended at random after all."""
NTH = 4
"""A targeted kill hits one of the first so many writes of its kind in a life, the first where they are rare."""


class Killing:
    """Starts and kills operators. `ends` counts them by how they ended, `seen` the writes by kind."""

    def __init__(self, folder: Path, kubeconfig: Path, settings: Path, seed: int, forget_lease: Callable[[], None]) -> None:
        self._folder, self._kubeconfig, self._settings, self._forget_lease = folder, kubeconfig, settings, forget_lease
        self._chance, self._lives = random.Random(seed), 0
        self.ends: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self._aimed: Counter[tuple[str, str]] = Counter()
        self.operator: Server | None = None

    def live_and_die(self) -> None:
        """One life, from start to SIGKILL; the clock begins with its first write, for the machine may be slow."""
        target = self._target() if self._lives % 3 else None
        operator, note = self.start(target), self._note()
        _wait(lambda: note.exists() or operator.ended(), START_SECONDS)
        _wait(operator.ended, PATIENCE if target else self._chance.uniform(0, 3))
        self.last_breath()

    def last_breath(self) -> None:
        """Kill the operator that `start` left alive."""
        assert self.operator is not None
        self.operator.kill()
        self._count()

    def start(self, target: tuple[str, str] | None = None) -> Server:
        """An operator that dies at `target` (before or after, and the write), or does not."""
        self._lives += 1
        if target and target[1] == "create LEASE":  # which else happens once in a cluster's life
            self._forget_lease()
        plan = {"note": str(self._note())} | ({"when": target[0], "write": target[1], "nth": self._chance.randint(1, self._often(target[1]))} if target else {})
        command = [sys.executable, "-m", "benchmarks.operator_chaos.doomed", json.dumps(plan), "--config", self._settings]
        environment = operator_environment(self._kubeconfig, f"operator-{self._lives}") | {"PYTHONPATH": str(ROOT)}
        self.operator = Server(command, self._folder / "operator.log", environment)
        return self.operator

    def untouched(self) -> list[str]:
        """Kinds of write that were seen, and before or after which no kill fell."""
        return [f"{when} {write}" for write in sorted(self.seen) for when in ("before", "after") if not self.ends[f"{when} {write}"]]

    def _target(self) -> tuple[str, str] | None:
        """The point that was aimed at least often so far."""
        points = [(when, write) for write in self.seen for when in ("before", "after")]
        self._chance.shuffle(points)
        target = min(points, key=lambda point: self._aimed[point], default=None)
        self._aimed.update([target] if target else [])
        return target

    def _often(self, write: str) -> int:
        return max(1, min(NTH, self.seen[write] // self._lives))

    def _note(self) -> Path:
        return self._folder / f"life-{self._lives}.txt"

    def _count(self) -> None:
        lines = self._note().read_text().splitlines() if self._note().exists() else []
        died = [line.removeprefix("dies ") for line in lines if line.startswith("dies ")]
        self.ends[died[0] if died else "at random"] += 1
        self.seen.update(line.removeprefix("sees ") for line in lines if line.startswith("sees "))


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    """Return once `condition` holds, or the time is over."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
