"""WorkQueue: which run to look at next. The rules are client-go's: a key waits once however often it is added, no two workers hold the same key, and one that
was added while it was held is looked at again afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

Key = tuple[str, str]
"""Namespace and name of a run."""

FIRST_WAIT, LONGEST_WAIT = 0.1, 30.0
"""Seconds before the first retry of a key that failed, doubling up to the longest."""


class WorkQueue:
    """Keys to work on. `waited` is told how many seconds each key had waited when a worker took it."""

    def __init__(self, waited: Callable[[float], None] = lambda _: None) -> None:
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._since: dict[Key, float] = {}
        self._held: set[Key] = set()
        self._dirty: set[Key] = set()
        self._later: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._waited = waited

    def __len__(self) -> int:
        return len(self._since) + len(self._dirty)

    def add(self, key: Key) -> None:
        """Look at `key` as soon as a worker is free."""
        if key in self._held:
            self._dirty.add(key)
        elif key not in self._since:
            self._since[key] = time.monotonic()
            self._ready.put_nowait(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Look at `key` in `seconds`, or earlier where something asks for that. The next look makes this appointment void: it decides anew."""
        loop = asyncio.get_running_loop()
        when, earlier = loop.time() + seconds, self._later.get(key)
        if earlier is None or when < earlier.when():
            if earlier is not None:
                earlier.cancel()
            self._later[key] = loop.call_at(when, self._due, key)

    def retry(self, key: Key) -> float:
        """Look at `key` again after a failure; says in how many seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        wait = min(FIRST_WAIT * 2.0 ** min(failures - 1, 20), LONGEST_WAIT)
        self.add_after(key, wait)
        return wait

    def succeeded(self, key: Key) -> None:
        """Forget the failures of `key`."""
        self._failures.pop(key, None)

    async def take(self) -> Key:
        """The next key, held until `done`."""
        key = await self._ready.get()
        self._waited(time.monotonic() - self._since.pop(key))
        self._held.add(key)
        if (appointment := self._later.pop(key, None)) is not None:
            appointment.cancel()
        return key

    def done(self, key: Key) -> None:
        """Let go of `key`."""
        self._held.discard(key)
        if key in self._dirty:
            self._dirty.discard(key)
            self.add(key)

    def _due(self, key: Key) -> None:
        self._later.pop(key, None)
        self.add(key)
