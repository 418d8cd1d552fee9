"""The API server for tests: JSON in and out over one kept-alive connection a thread. kubectl says the same, a process at a time."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from cluster.control_plane import ControlPlane

Json = dict[str, Any]

CORE, BATCH, RUNS = "/api/v1", "/apis/batch/v1", "/apis/medfinetune.io/v1alpha1"
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"


class Answer(Exception):  # noqa: N818  # an answer, though not the one hoped for
    """The API server said no: `status` and its own words."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status


class Api:
    """Requests as the administrator of `cluster`."""

    def __init__(self, cluster: ControlPlane) -> None:
        self._address, self._token, self._certificate = urlsplit(cluster.url), cluster.token, cluster.credentials.certificate
        self._local = threading.local()

    def get(self, path: str) -> Json | None:
        """One object, or a list; None where there is none."""
        try:
            return self.send("GET", path)
        except Answer as answer:
            if answer.status == 404:
                return None
            raise

    def items(self, path: str) -> list[Json]:
        """The objects of a list."""
        found: list[Json] = self.send("GET", path)["items"]
        return found

    def send(self, method: str, path: str, body: Json | None = None, content_type: str = "application/json") -> Json:
        """The answer's JSON. Raises Answer where the API server refuses."""
        try:
            status, text = self._once(method, path, body, content_type)
        except (http.client.HTTPException, OSError):  # a kept-alive connection that was closed meanwhile
            self._local.connection = None
            status, text = self._once(method, path, body, content_type)
        if status >= 300:
            raise Answer(status, text)
        answer: Json = json.loads(text)
        return answer

    def watch(self, path: str, version: str) -> Iterator[Json]:
        """Events from `version` on, until the API server ends the stream."""
        connection = self._connect(timeout=330)
        try:
            connection.request("GET", f"{path}?watch=true&allowWatchBookmarks=true&resourceVersion={version}", headers=self._headers())
            response = connection.getresponse()
            while line := response.readline():
                yield json.loads(line)
        finally:
            connection.close()

    def _once(self, method: str, path: str, body: Json | None, content_type: str) -> tuple[int, str]:
        connection = getattr(self._local, "connection", None) or self._connect(timeout=30)
        self._local.connection = connection
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, self._headers() | ({"Content-Type": content_type} if data else {}))
        response = connection.getresponse()
        return response.status, response.read().decode()

    def _connect(self, timeout: float) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=self._certificate)
        assert self._address.hostname
        return http.client.HTTPSConnection(self._address.hostname, self._address.port, context=context, timeout=timeout)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}
