"""The bad network between operator and API server: an HTTPS proxy that refuses, cuts, forgets to answer, and lets watches expire.

Its faults are answers that a real API server gives (409, 429, 500, a watch's 410 Gone) and what any network does: connections cut, and an answer lost though
the write went through.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import subprocess
import threading
from collections import Counter
from pathlib import Path

import aiohttp
from aiohttp import web

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
REFUSALS = {409: "Conflict", 429: "TooManyRequests", 500: "InternalError"}
DROPPED = frozenset({"Host", "Transfer-Encoding", "Content-Length", "Connection", "Accept-Encoding"})
EXPIRED = {"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old"}}


class FaultyProxy:
    """Forwards to `upstream`; a context manager. `faulty` switches the faults of requests on and off, `counts` says how many there were of each."""

    def __init__(self, upstream: str, authority: Path, folder: Path, port: int, seed: int, share: float = 0.03) -> None:
        self._upstream, self._authority, self._port, self._share = upstream, authority, port, share
        self.certificate, self._key = folder / "proxy.crt", folder / "proxy.key"
        self.url, self.faulty, self.counts = f"https://127.0.0.1:{port}", False, Counter[str]()
        self._chance = random.Random(seed)
        self._ready = threading.Event()
        self._transports: set[asyncio.BaseTransport] = set()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> FaultyProxy:
        subject = ["-subj", "/CN=proxy", "-addext", "subjectAltName=IP:127.0.0.1"]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", self._key, "-out", self.certificate, *subject]
        subprocess.run(command, check=True, capture_output=True)
        self._thread.start()
        assert self._ready.wait(30), "the proxy did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    def cut(self) -> None:
        """Reset every connection that is open now."""
        self.counts["cut"] += 1
        self._loop.call_soon_threadsafe(lambda: [_reset(transport) for transport in [*self._transports]])

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        trust = ssl.create_default_context(cafile=str(self._authority))
        own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        own.load_cert_chain(self.certificate, self._key)
        connector = aiohttp.TCPConnector(limit=0, ssl=trust)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None)) as self._session:
            runner = web.ServerRunner(web.Server(self._handle, handler_cancellation=True))
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", self._port, ssl_context=own, shutdown_timeout=0.1).start()
            self._ready.set()
            await self._stop.wait()
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.transport is None:
            raise ConnectionResetError
        self._transports.add(request.transport)
        try:
            return await self._answer(request, self._fault(request.method, "watch=true" in request.query_string))
        finally:
            self._transports.discard(request.transport)

    async def _answer(self, request: web.BaseRequest, fault: str) -> web.StreamResponse:
        if fault:
            self.counts[fault] += 1
        if fault.isdigit():
            return _refusal(int(fault))
        if fault == "expired":
            return web.Response(text=json.dumps(EXPIRED) + "\n", content_type="application/json")
        body, headers = await request.read(), {name: value for name, value in request.headers.items() if name not in DROPPED}
        try:
            async with self._session.request(request.method, self._upstream + request.path_qs, data=body or None, headers=headers) as answer:
                if fault == "unanswered":
                    await answer.read()
                    _reset(request.transport)
                return await self._pass_on(request, answer)
        except (aiohttp.ClientError, ConnectionError):  # either side is away
            _reset(request.transport)
            return web.Response()  # which nobody hears

    async def _pass_on(self, request: web.BaseRequest, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        headers = {name: value for name, value in answer.headers.items() if name not in DROPPED}
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response

    def _fault(self, method: str, watch: bool) -> str:
        """What goes wrong with a request; nothing, mostly."""
        if not self.faulty or self._chance.random() > self._share:
            return ""
        if watch:
            return "expired"
        return self._chance.choice(["409", "429", "500", "unanswered"] if method in WRITES else ["429", "500"])


def _refusal(code: int) -> web.Response:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": REFUSALS[code], "code": code, "message": "by the benchmark"}
    return web.json_response(status, status=code, headers={"Retry-After": "1"} if code == 429 else {})


def _reset(transport: asyncio.BaseTransport | None) -> None:
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
