"""Controller: takes a run from the queue, looks at it, lets `reconcile` decide, and carries the decision out.

Status is stored before anything else is done. A crash anywhere between leaves a state from which the next look decides the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from medfinetune_operator.cache import Cache, Json
from medfinetune_operator.client import ApiError, Unreachable
from medfinetune_operator.cluster import Cluster, Outdated
from medfinetune_operator.decision import Decision
from medfinetune_operator.events import Events
from medfinetune_operator.kinds import Kind
from medfinetune_operator.logs import say
from medfinetune_operator.metrics import Counters
from medfinetune_operator.news import News
from medfinetune_operator.observation import Child, Refusal
from medfinetune_operator.observer import Observer
from medfinetune_operator.reconcile import reconcile
from medfinetune_operator.refusals import Refused
from medfinetune_operator.resources.children import child
from medfinetune_operator.resources.job import job
from medfinetune_operator.run import Run, read_run
from medfinetune_operator.settings import Settings
from medfinetune_operator.workqueue import Key, WorkQueue

WORKERS = 16
SETTLE_SECONDS = 1.0
"""Until a run is looked at again whose Job was created: the Job's own news mostly comes first."""
APPLIED_CHILDREN = frozenset({Child.SERVICE, Child.POLICY})
"""Children that may change, and are applied; the others are created once."""


class Controller:
    """Reconciles runs: `worker` for ever, one run at a time."""

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        queue: WorkQueue,
        observer: Observer,
        counters: Counters,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings, self._cluster, self._queue, self._observer = settings, cluster, queue, observer
        self._counters, self._clock = counters, clock
        self._news = News(counters)
        self.events = Events(cluster)
        self._read: dict[Key, Run] = {}
        self._refusals: dict[Key, tuple[str, Refusal]] = {}

    @property
    def _cache(self) -> Cache:
        return self._cluster.cache

    async def worker(self) -> None:
        """Reconcile what the queue hands out, for ever."""
        while True:
            key = await self._queue.take()
            try:
                result = await self._attempt(key)
            finally:
                self._queue.done(key)
            self._counters.reconciles.labels(result).inc()

    async def reconcile(self, namespace: str, name: str) -> str:
        """Bring one run a step further; says whether that changed anything. Raises Outdated, Refused, ApiError or Unreachable: see `_attempt`."""
        key = (namespace, name)
        body = self._cache.named(Kind.RUN, namespace, name)
        if body is None:
            self._forget(key)
            return "gone"
        run = self._read[key] = read_run(body, self._read.get(key))
        self._news.tell(run, run.status)
        uid, refusal = self._refusals.get(key, ("", None))
        seen = await self._observer.observe(run, refusal if uid == run.identity.uid else None)
        decision = reconcile(run, seen, self._clock(), self._settings)
        if decision.again is not None:
            self._queue.add_after(key, decision.again)
        return await self._carry_out(run, body, decision)

    async def _attempt(self, key: Key) -> str:
        """Reconcile, and decide when to look again where that did not go through."""
        try:
            result = await self.reconcile(*key)
        except Outdated:
            return await self._look_again(key)
        except Refused as refused:
            self._remember(key, refused.refusal)
            return "refused"
        except Exception as error:  # whatever it is, the other runs are served on
            known = isinstance(error, (ApiError, Unreachable))
            say("reconcile failed", level=logging.WARNING, error=str(error) if known else type(error).__name__, namespace=key[0], run=key[1])
            self._queue.retry(key)
            return "error"
        self._queue.succeeded(key)
        return result

    async def _look_again(self, key: Key) -> str:
        try:
            await self._cluster.refresh(Kind.RUN, *key)
        except (ApiError, Unreachable):
            self._queue.retry(key)
        else:
            self._queue.add(key)
        return "conflict"

    async def _carry_out(self, run: Run, body: Json, decision: Decision) -> str:
        if changed := decision.status != run.status:
            await self._cluster.store_status(body, decision.status.model_dump(mode="json", by_alias=True, exclude_none=True))
            self._news.tell(run, decision.status)
        run = replace(run, status=decision.status)
        for note in decision.notes:
            self.events.post(run, note, self._clock())
        for each in decision.stop:
            await self._cluster.delete(Kind.JOB, run.namespace, each.name, each.uid)
        if decision.remove_children:
            await self._remove_children(run)
        made = await self._make(run, decision)
        return "changed" if changed or made or decision.stop else "unchanged"

    async def _make(self, run: Run, decision: Decision) -> bool:
        """Create what is missing. What went through ends a refusal, which the next look then takes out of the conditions."""
        for each in decision.make:
            manifest = child(each, run, self._settings)
            await (self._cluster.apply(manifest) if each in APPLIED_CHILDREN else self._cluster.create(manifest))
        if decision.start is not None:
            await self._cluster.create(job(run, decision.start, self._settings))
            say("attempt started", namespace=run.namespace, run=run.name, stage=decision.start.stage, attempt=decision.start.number)
        key = (run.namespace, run.name)
        if made := bool(decision.make or decision.start):
            refused = self._refusals.pop(key, None)
            self._queue.add_after(key, 0 if refused else SETTLE_SECONDS)
        return made

    async def _remove_children(self, run: Run) -> None:
        """Jobs, Service, NetworkPolicy and plan of this very run; no claim."""
        for kind in (Kind.JOB, Kind.SERVICE, Kind.NETWORK_POLICY, Kind.CONFIG_MAP):
            for body in self._cache.of_run(kind, (run.namespace, run.name)):
                meta = body["metadata"]
                owned = any(owner.get("uid") == run.identity.uid for owner in meta.get("ownerReferences") or ())
                if owned and "deletionTimestamp" not in meta:
                    await self._cluster.delete(kind, run.namespace, meta["name"], meta["uid"])

    def _remember(self, key: Key, refusal: Refusal) -> None:
        """A refusal becomes a condition at the next look, which is at once where it is a new one; then the wait doubles."""
        run = self._read[key]
        say("refused by the API server", namespace=key[0], run=key[1], reason=refusal.reason, fields=refusal.fields)
        news = self._refusals.get(key) != (run.identity.uid, refusal)
        self._refusals[key] = (run.identity.uid, refusal)
        wait = self._queue.retry(key)
        if news and wait:
            self._queue.add(key)

    def _forget(self, key: Key) -> None:
        self._read.pop(key, None)
        self._refusals.pop(key, None)
        self._news.forget(key)
        self._queue.succeeded(key)
        self._observer.forget(key)
