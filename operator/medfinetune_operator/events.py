"""Events: what happened to a run, for people who ask `kubectl describe`. Best effort: posted one after another in the background, dropped rather than waited
for, and never anything but the contract's own words.
"""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime

from medfinetune_api.spec import API_VERSION, KIND

from medfinetune_operator.cache import Json
from medfinetune_operator.client import ApiError, Unreachable
from medfinetune_operator.cluster import Cluster
from medfinetune_operator.decision import Note
from medfinetune_operator.kinds import Kind
from medfinetune_operator.logs import say
from medfinetune_operator.run import Run

COMPONENT = "medfinetune-operator"
WAITING = 2000
"""Events that may wait to be posted; further ones are dropped."""


class Events:
    """The outbox."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._outbox: asyncio.Queue[Json] = asyncio.Queue(WAITING)

    def post(self, run: Run, note: Note, now: datetime) -> None:
        """Post `note` about `run` when there is time."""
        if not self._outbox.full():
            self._outbox.put_nowait(event(run, note, now))

    async def work(self) -> None:
        """Post what is in the outbox, for ever."""
        while True:
            body = await self._outbox.get()
            meta = body["metadata"]
            try:
                await self._cluster.write("create", Kind.EVENT, meta["namespace"], meta["name"], body)
            except (ApiError, Unreachable) as error:
                say("event not posted", error=type(error).__name__, namespace=meta["namespace"], run=body["involvedObject"]["name"])


def event(run: Run, note: Note, now: datetime) -> Json:
    """A v1 Event about `run`."""
    stamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": run.namespace, "name": f"{run.name}.{secrets.token_hex(8)}"},
        "involvedObject": {"apiVersion": API_VERSION, "kind": KIND, "namespace": run.namespace, "name": run.name, "uid": run.identity.uid},
        "reason": note.reason.value,
        "message": note.message,
        "type": "Warning" if note.warning else "Normal",
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": "",
    }
