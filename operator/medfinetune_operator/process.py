"""The operator's process: take the Lease, list everything once, then watch, queue and reconcile until told to stop or until the Lease is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from medfinetune_operator.cache import Cache
from medfinetune_operator.client import Api, ApiError, Unreachable, connected
from medfinetune_operator.cluster import Cluster
from medfinetune_operator.controller import WORKERS, Controller
from medfinetune_operator.handlers import watch_lease, watch_runs
from medfinetune_operator.health import Health, serving
from medfinetune_operator.inbox import Inbox
from medfinetune_operator.lease import Lease, identity
from medfinetune_operator.logs import say
from medfinetune_operator.metrics import Counters, State
from medfinetune_operator.observer import Observer
from medfinetune_operator.reports import Reports
from medfinetune_operator.settings import Settings
from medfinetune_operator.workqueue import WorkQueue

LEASE_LOST = 3
"""Exit status of an operator that may not work any more."""


@dataclass
class Parts:
    """Everything that works together in one operator."""

    controller: Controller
    inbox: Inbox
    lease: Lease
    health: Health
    reports: Reports
    counters: Counters


async def operate(settings: Settings, writer: type[Cluster] = Cluster) -> None:
    """Work until SIGTERM. `writer` makes every write to the API server. Raises ApiError or Unreachable where the start fails."""
    told = asyncio.Event()
    _on_signal(told)
    async with connected() as api:
        parts = _assemble(settings, writer(api, Cache()), api)
        async with (
            serving(parts.health, parts.counters.registry, settings.metrics_port),
            _running(told.wait(), parts.lease.acquire(parts.health.beat)) as waits,
        ):
            await _first_of(waits)
            if not told.is_set():
                await _work(settings, parts, told)
        await parts.reports.close()


def _assemble(settings: Settings, cluster: Cluster, api: Api) -> Parts:
    counters = Counters()
    queue = WorkQueue(counters.waits.observe)
    reports = Reports(settings.progress_seconds, queue.add)
    lease = Lease(cluster, settings, identity())
    health = Health(lease.beat_seconds)
    inbox = Inbox(api, cluster.cache, queue, settings, lambda seen: health.beat() if lease.is_ours(seen) else None)
    counters.registry.register(State(cluster.cache, queue, api, version("medfinetune"), lambda: health.ready))
    controller = Controller(settings, cluster, queue, Observer(cluster, settings, queue, reports), counters)
    return Parts(controller, inbox, lease, health, reports, counters)


async def _work(settings: Settings, parts: Parts, told: asyncio.Event) -> None:
    """Watch and reconcile until told to stop, then let go of the Lease. The loss of the Lease ends the process on the spot."""
    parts.health.beat()
    watches = [*await watch_runs(parts.inbox, settings), *await watch_lease(parts.inbox, settings)]
    _on_signal(told)  # kopf has set its own: it would wait for tasks that are not its own
    async with _running(_until_lost(parts.lease)):
        await parts.inbox.list_all()
        parts.health.ready = True
        say("everything listed")
        workers = [parts.controller.worker() for _ in range(WORKERS)]
        async with _running(told.wait(), *workers, parts.controller.events.work(), parts.inbox.resync()) as work:
            await _first_of([*watches, *work])
    await parts.lease.release()
    await _cancelled(watches)


def _on_signal(told: asyncio.Event) -> None:
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, told.set)


async def _first_of(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Return when one task has ended. Raises what it raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _cancelled(tasks: Collection[asyncio.Task[Any]]) -> None:
    """End tasks, whatever they say to it."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _running(*work: Coroutine[Any, Any, Any]) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Tasks that run beside the block, and are cancelled at its end."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        yield tasks
    finally:
        await _cancelled(tasks)


async def _until_lost(lease: Lease) -> None:
    await lease.keep()
    os._exit(LEASE_LOST)


def failure(error: BaseException) -> str:
    """Why the process ends, without the text of errors that are not our own."""
    return str(error) if isinstance(error, (ApiError, Unreachable)) else type(error).__name__
