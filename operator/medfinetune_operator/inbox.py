"""Inbox: news of the cluster, from watches and from lists, into the cache; the runs that it concerns, into the queue."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from medfinetune_operator.cache import Cache, Json
from medfinetune_operator.client import Api, ApiError, Unreachable
from medfinetune_operator.kinds import KEPT, Kind
from medfinetune_operator.logs import say
from medfinetune_operator.settings import Settings
from medfinetune_operator.workqueue import Key, WorkQueue

JITTER = 0.1
"""Share by which the time between two resyncs varies."""


class Inbox:
    """Takes news in. `lease_seen` is called with each Lease that the watch shows."""

    def __init__(self, api: Api, cache: Cache, queue: WorkQueue, settings: Settings, lease_seen: Callable[[Json], None]) -> None:
        self._api, self._cache, self._queue, self._settings, self._lease_seen = api, cache, queue, settings, lease_seen

    def saw(self, kind: Kind, change: str | None, body: Json) -> None:
        """One watch event: `change` is ADDED, MODIFIED, DELETED, or None for what was there when the watch began."""
        if kind is Kind.LEASE:
            self._lease_seen(body)
            return
        concerned = self._cache.concerned(kind, body)
        if self._cache.drop(kind, body) if change == "DELETED" else self._cache.put(kind, body):
            self._add(concerned)

    async def list_all(self) -> None:
        """Learn everything anew, and look at every run: now where there is news, else some time before the next resync. Raises ApiError or Unreachable."""
        for kind in KEPT:
            for namespace in self._settings.watch_namespaces or (None,):
                self._add(self._cache.true_up(kind, namespace, *await self._api.list(kind, namespace)))

    async def resync(self) -> None:
        """List everything again and again: a watch that was cut never tells what was deleted meanwhile."""
        every = self._settings.resync_seconds
        while True:
            await asyncio.sleep(every * random.uniform(1 - JITTER, 1 + JITTER))
            try:
                await self.list_all()
            except (ApiError, Unreachable) as error:
                say("resync failed", error=str(error))
            for body in self._cache.runs():
                self._queue.add_after((body["metadata"]["namespace"], body["metadata"]["name"]), random.uniform(0, every / 2))

    def _add(self, keys: set[Key]) -> None:
        for key in keys:
            self._queue.add(key)
