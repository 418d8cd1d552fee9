"""Health: `/healthz`, `/readyz` and `/metrics` of the operator.

A process that answers HTTP proves little. What proves life is the whole way round: the Lease that the operator renews must come back to it through kopf's
watch. While it waits for another operator's Lease, its looks at that Lease count instead.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from medfinetune_operator.logs import say

MISSED = 3
"""Beats in a row whose absence means that the operator must be restarted."""


class Health:
    """What the probes ask. `beat_seconds` is the time between two beats."""

    def __init__(self, beat_seconds: float) -> None:
        self._allowed = beat_seconds * MISSED
        self._last = time.monotonic()
        self.ready = False
        """The Lease is held, and everything was listed once."""

    def beat(self) -> None:
        """Note a sign of life."""
        self._last = time.monotonic()

    def alive(self) -> bool:
        """Whether a sign of life came within the last beats."""
        return time.monotonic() - self._last <= self._allowed


@asynccontextmanager
async def serving(health: Health, registry: CollectorRegistry, port: int) -> AsyncIterator[int]:
    """Serve while the block runs; yields the port. Raises OSError where it is taken."""
    runner = web.AppRunner(_application(health, registry), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host=None, port=port)
        await site.start()
        listening: int = runner.addresses[0][1]
        say("serving", port=listening, paths=["/healthz", "/readyz", "/metrics"])
        yield listening
    finally:
        await runner.cleanup()


def _application(health: Health, registry: CollectorRegistry) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        return _verdict(health.alive(), "no sign of life came through the watch")

    async def readyz(_: web.Request) -> web.Response:
        return _verdict(health.ready, "waits for the Lease, or for the first list of everything")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return application


def _verdict(good: bool, otherwise: str) -> web.Response:
    return web.Response(text="ok\n") if good else web.Response(text=otherwise + "\n", status=503)
