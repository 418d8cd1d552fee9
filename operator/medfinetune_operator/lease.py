"""Lease: of all operators of a cluster one works, the others wait.

The Lease is written anew three times in its duration. Whoever cannot do that in time ends at once: from then on another may have taken it. It is taken over
when it was not renewed for its duration, or at once when it was released or the pod that holds it is gone.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from medfinetune_operator.cache import Json
from medfinetune_operator.client import Api, ApiError, Unreachable
from medfinetune_operator.cluster import Cluster
from medfinetune_operator.kinds import Kind
from medfinetune_operator.logs import say
from medfinetune_operator.settings import Settings

NOT_A_POD = "_"
"""In the name of a holder that is no pod; the name of a pod cannot have it."""
BEATS = 3
"""Renewals within the Lease's duration."""


def identity() -> str:
    """Name of this operator's pod (POD_NAME); outside of a cluster a name of its own."""
    return os.environ.get("POD_NAME") or NOT_A_POD.join((socket.gethostname(), str(os.getpid()), secrets.token_hex(4)))


class Lease:
    """The Lease of `settings`, for the holder `identity`."""

    def __init__(self, cluster: Cluster, settings: Settings, identity: str) -> None:
        self._cluster, self.identity = cluster, identity
        self._namespace, self._name, self._seconds = settings.lease_namespace, settings.lease_name, settings.lease_seconds
        self.beat_seconds = self._seconds / BEATS
        self._held: Json | None = None
        self._renewed = 0.0
        self._rival: tuple[str, float] = ("", 0.0)

    @property
    def _api(self) -> Api:
        return self._cluster.api

    def is_ours(self, lease: Json) -> bool:
        """Whether `lease`, as a watch shows it, is this one, held by us."""
        meta = lease["metadata"]
        return (meta["namespace"], meta["name"], lease["spec"].get("holderIdentity")) == (self._namespace, self._name, self.identity)

    async def acquire(self, tried: Callable[[], None]) -> None:
        """Return once the Lease is held; `tried` is called after each look at it."""
        while not await self._tolerant(self._take):
            tried()
            await asyncio.sleep(min(self.beat_seconds, 2.0))
        say("lease acquired", holder=self.identity)

    async def keep(self) -> None:
        """Renew the Lease for as long as that works; return once it is lost."""
        while time.monotonic() - self._renewed < self._seconds - self.beat_seconds:
            await asyncio.sleep(self.beat_seconds)
            if not await self._tolerant(self._renew) and self._held is None:
                break
        say("lease lost", holder=self.identity)

    async def release(self) -> None:
        """Let the next operator in at once."""
        if self._held and self._held["spec"].get("holderIdentity") == self.identity:
            await self._tolerant(lambda: self._write("", 1))

    async def _take(self) -> bool:
        present = await self._api.get(Kind.LEASE, self._namespace, self._name)
        if present is not None and not await self._free(present):
            return False
        self._held = present
        return await self._write(self.identity, self._seconds)

    async def _free(self, lease: Json) -> bool:
        holder = lease["spec"].get("holderIdentity") or ""
        if holder in ("", self.identity):
            return True
        if self._rival[0] != lease["metadata"]["resourceVersion"]:  # alive as of now, by our own clock
            self._rival = (lease["metadata"]["resourceVersion"], time.monotonic())
        expired = time.monotonic() - self._rival[1] > (lease["spec"].get("leaseDurationSeconds") or self._seconds)
        return expired or (NOT_A_POD not in holder and await self._api.get(Kind.POD, self._namespace, holder) is None)

    async def _renew(self) -> bool:
        return await self._write(self.identity, self._seconds)

    async def _write(self, holder: str, seconds: float) -> bool:
        """Write the Lease over the one that was read; False where somebody else was faster, who then holds it."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        meta = {"namespace": self._namespace, "name": self._name}
        spec = {"holderIdentity": holder, "leaseDurationSeconds": max(1, round(seconds)), "acquireTime": now, "renewTime": now}
        body = {"apiVersion": Kind.LEASE.value.api_version, "kind": Kind.LEASE.value.kind, "metadata": meta, "spec": spec}
        began = time.monotonic()
        try:
            if self._held:
                meta["resourceVersion"] = self._held["metadata"]["resourceVersion"]
                spec["acquireTime"] = self._held["spec"]["acquireTime"] if self._held["spec"].get("holderIdentity") == holder else now
            self._held = await self._cluster.write("replace" if self._held else "create", Kind.LEASE, self._namespace, self._name, body)
        except ApiError as error:
            if error.status != 409:
                raise
            self._held = await self._own()
            return self._held is not None
        self._renewed = began
        return True

    async def _own(self) -> Json | None:
        """The Lease as it is, if it is ours: a write whose answer was lost."""
        present = await self._api.get(Kind.LEASE, self._namespace, self._name)
        return present if present and present["spec"].get("holderIdentity") == self.identity else None

    async def _tolerant(self, step: Callable[[], Awaitable[bool]]) -> bool:
        """False where the API server does not answer, or not as it should: time decides."""
        try:
            return await step()
        except (ApiError, Unreachable) as error:
            say("lease not written", error=str(error))
            return False
