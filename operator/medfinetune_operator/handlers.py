"""Handlers: kopf's watches, each event handed on in one line. No timers, daemons or deletion handlers: they would put a finalizer on every run, and a run
could not be deleted while no operator is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import kopf

from medfinetune_operator.inbox import Inbox
from medfinetune_operator.kinds import WATCHED, Kind
from medfinetune_operator.settings import Settings

Tasks = Collection[asyncio.Task[Any]]

CHUNK = 100
"""Objects of one answer when a watch begins: thousands at once would need the memory that the operator must do without."""


async def watch_runs(inbox: Inbox, settings: Settings) -> Tasks:
    """Watch what moves, where runs are carried. The tasks go on for ever, or raise what a watch ends with."""
    chosen = _quiet()
    for kind in WATCHED:
        if kind.selector:
            chosen.watching.label_selectors[kind.value.plural] = kind.selector
    everywhere = not settings.watch_namespaces
    return await kopf.spawn_tasks(registry=_registry(inbox, *WATCHED), settings=chosen, clusterwide=everywhere, namespaces=settings.watch_namespaces)


async def watch_lease(inbox: Inbox, settings: Settings) -> Tasks:
    """Watch the Lease, in its own namespace: there the operator may, and runs need not be seen."""
    chosen = _quiet()
    chosen.watching.field_selectors[Kind.LEASE.value.plural] = f"metadata.name={settings.lease_name}"
    return await kopf.spawn_tasks(registry=_registry(inbox, Kind.LEASE), settings=chosen, namespaces=[settings.lease_namespace])


def _registry(inbox: Inbox, *kinds: Kind) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    async def seen(*, event: Any, param: Any = None, **_: Any) -> None:
        inbox.saw(param, event["type"], event["object"])

    for kind in kinds:
        group, _, version = kind.value.api_version.rpartition("/")
        kopf.on.event(group, version, kind.value.plural, id=kind.name.lower(), param=kind, registry=registry)(seen)
    for login in (kopf.login_with_service_account, kopf.login_with_kubeconfig):
        kopf.on.login(id=login.__name__, registry=registry)(login)
    return registry


def _quiet() -> kopf.OperatorSettings:
    """kopf as a watcher and nothing else: it writes to no object, posts no Events, and looks for no new kinds or namespaces."""
    chosen = kopf.OperatorSettings()
    chosen.scanning.disabled = True
    chosen.posting.enabled = chosen.posting.loggers = False
    chosen.peering.standalone = True
    chosen.networking.request_timeout = 30
    chosen.networking.connect_timeout = 5
    chosen.networking.error_backoffs = [0.2, 0.5, 1, 2, 3, 5, 5, 10, 10, 15]
    chosen.queueing.idle_timeout = 0.1  # seconds that an object's worker keeps its last event in memory
    chosen.watching.chunk_size = CHUNK
    chosen.queueing.exit_timeout = 1
    chosen.persistence.diffbase_storage = _NoEssence()
    return chosen


class _NoEssence(kopf.DiffBaseStorage):
    """kopf would copy every object that comes by, to find what has changed since it last wrote that down. It never writes here."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:
        """Nothing is compared."""
        return {}

    def fetch(self, *, body: Any) -> Any:
        """Nothing was written down."""
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        """Write nothing."""
