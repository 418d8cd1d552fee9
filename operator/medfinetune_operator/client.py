"""The API server: JSON in, JSON out, over one pool of kept-alive connections.

The credentials are kopf's own, so that watches and requests speak as the same account. The official client would be a second HTTP stack: importing it
costs more memory than everything else here (docs/decisions).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import kopf

from medfinetune_operator.kinds import Kind

Json = dict[str, Any]
Answer = tuple[int, Mapping[str, str], bytes]
"""Status, headers, body."""

REQUEST_SECONDS = 30.0
CONNECTIONS = 32
PAGE = 200
"""Objects of one answer to a list."""
WAITS = (0.2, 0.5, 1.0, 2.0)
"""Seconds before a request is sent again that the server was too busy for."""
BUSY = frozenset({429, 500, 502, 503, 504})
LONGEST_WAIT = 10.0
"""Most seconds that a Retry-After is obeyed within one request; the queue's backoff follows."""


_PATH = re.compile(r"[a-z][A-Za-z0-9]*([.][A-Za-z0-9]+|\[[A-Za-z0-9._/-]{1,80}\]){1,20}")
"""Of a field, as Kubernetes writes it."""


class ApiError(Exception):
    """The API server's refusal of one request. Its text stays out of `str()`: it may quote what a user wrote; `fields` are paths in the object alone."""

    def __init__(self, status: int, reason: str, text: str, fields: tuple[str, ...] = ()) -> None:
        super().__init__(f"{status} {reason}")
        self.status, self.reason, self.text, self.fields = status, reason, text, fields


class Unreachable(Exception):  # noqa: N818  # says what is so
    """The API server did not answer; whether it did what was asked is unknown."""


def credentials() -> kopf.ConnectionInfo:
    """Those of the pod's service account, else of KUBECONFIG. Raises Unreachable where there are neither."""
    settings = kopf.OperatorSettings()
    found = kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)
    if not found:
        raise Unreachable("neither a service account's token nor a kubeconfig (KUBECONFIG) was found")
    return found


class Api:
    """Requests to the API server. `requests` counts them by verb and status."""

    def __init__(self, session: aiohttp.ClientSession, found: kopf.ConnectionInfo) -> None:
        self._session, self._server, self._headers = session, found.server.rstrip("/"), found.as_http_headers()
        self.requests: Counter[tuple[str, str]] = Counter()

    async def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """One object as it is now; None where there is none."""
        try:
            return await self.request("GET", kind.path(namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def list(self, kind: Kind, namespace: str | None, fields: str | None = None) -> tuple[list[Json], str]:
        """Every object of a kind that concerns the operator, and the resourceVersion at which that was so. Raises ApiError, where there is no such kind with
        what to do about it."""
        found: list[Json] = []
        query = {"limit": str(PAGE)} | ({"labelSelector": kind.selector} if kind.selector else {}) | ({"fieldSelector": fields} if fields else {})
        while True:
            try:
                page = await self.request("GET", kind.path(namespace), query=query)
            except ApiError as error:
                raise _no_such_kind(kind, error) from None
            found += page["items"]
            if not (token := page["metadata"].get("continue")):
                return found, page["metadata"]["resourceVersion"]
            query = query | {"continue": token}

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Json | None = None, content_type: str = "application/json"
    ) -> Json:
        """The answer's JSON. Sent again while the server is too busy. Raises ApiError for any other refusal, Unreachable where no answer came."""
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        for wait in (*WAITS, None):
            status, headers, raw = await self._send(method, path, query, data, content_type)
            if status in BUSY and wait is not None:
                await asyncio.sleep(_told(headers, wait))
                continue
            break
        if status < 300:
            answer: Json = json.loads(raw)
            return answer
        raise _refusal(status, raw)

    async def _send(self, method: str, path: str, query: Mapping[str, str] | None, data: bytes | None, content_type: str) -> Answer:
        try:
            answer = await self._once(method, path, query, data, content_type)
            if answer[0] == 401:  # the token has been rotated
                self._headers = credentials().as_http_headers()
                answer = await self._once(method, path, query, data, content_type)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.requests[method, "none"] += 1
            raise Unreachable(type(error).__name__) from None
        return answer

    async def _once(self, method: str, path: str, query: Mapping[str, str] | None, data: bytes | None, content_type: str) -> Answer:
        headers = self._headers | ({"Content-Type": content_type} if data else {})
        async with self._session.request(method, self._server + path, params=query, data=data, headers=headers) as answer:
            raw = await answer.read()
        self.requests[method, str(answer.status)] += 1
        return answer.status, answer.headers, raw


@asynccontextmanager
async def connected() -> AsyncIterator[Api]:
    """An Api while the block runs."""
    found = credentials()
    connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=found.as_ssl_context(), keepalive_timeout=60)
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=5)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers={"User-Agent": "medfinetune-operator"}) as session:
        yield Api(session, found)


def _told(headers: Mapping[str, str], otherwise: float) -> float:
    told = headers.get("Retry-After", "")
    return min(float(told), LONGEST_WAIT) if told.isdigit() else otherwise


def _no_such_kind(kind: Kind, error: ApiError) -> ApiError:
    if error.status != 404 or kind is not Kind.RUN:
        return error
    place = kind.value
    remedy = "install the chart with crds.enabled, or apply the file in crds/ first"
    return ApiError(404, f"found no CustomResourceDefinition {place.plural}.{place.api_version.split('/')[0]}: {remedy}", error.text)


def _refusal(status: int, raw: bytes) -> ApiError:
    try:
        said = json.loads(raw)
        causes = (said.get("details") or {}).get("causes") or ()
        fields = tuple(dict.fromkeys(cause["field"] for cause in causes if _PATH.fullmatch(str(cause.get("field", "")))))
        return ApiError(status, str(said.get("reason", "Unknown")), str(said.get("message", "")), fields)
    except (ValueError, AttributeError, TypeError):
        return ApiError(status, "Unknown", "")
