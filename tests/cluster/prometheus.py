"""A real Prometheus for tests, from Debian's package: own folder, own port, killed at the end, and what its monitors become.

Debian builds it without Kubernetes' service discovery, so pods are told to it as that would: their `__meta_kubernetes_*` labels, from the real objects.
The monitors of the chart become scrape configurations as Prometheus Operator makes them.
"""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from cluster.debian import debian_program
from cluster.processes import SECONDS, Server, free_port, wait_until

Json = dict[str, Any]
INTERVAL = "500ms"
"""Between two scrapes: a test has not the time of a cluster."""
NOT_OVER = {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)", "action": "drop"}
"""Prometheus Operator's own rule: pods that have ended are not scraped."""


class Prometheus:
    """One server with all that it keeps in `folder`; a context manager. `past` is text in OpenMetrics format, with times, that it has stored already."""

    def __init__(self, folder: Path, scrapes: Sequence[Json], past: str = "") -> None:
        folder.mkdir(parents=True)
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump({"global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL}, "scrape_configs": list(scrapes)}))
        self.data, self.url = folder / "data", f"http://127.0.0.1:{(port := free_port())}"
        if past:
            _blocks(past, folder / "past.txt", self.data)
        listening = [f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={self.data}"]
        self._command, self._log = [debian_program("prometheus"), f"--config.file={config}", *listening], folder / "prometheus.log"

    def __enter__(self) -> Self:
        self.server = Server(self._command, self._log)
        try:
            self.server.wait_for("answering /-/ready", self._ready)
        except BaseException:
            self.server.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.server.kill()

    def range(self, expr: str, start: float, end: float, step: float = 1) -> list[Json]:
        """The series that `expr` answers between two times. Raises AssertionError with Prometheus' words where it refuses."""
        found: list[Json] = self._asked("query_range", query=expr, start=str(start), end=str(end), step=str(step))["result"]
        return found

    def now(self, expr: str) -> list[Json]:
        """The series that `expr` answers now."""
        found: list[Json] = self._asked("query", query=expr)["result"]
        return found

    def values(self, label: str, selector: str) -> list[str]:
        """The values of a label among the series that a selector selects."""
        found: list[str] = self._asked(f"label/{label}/values", **{"match[]": selector})
        return found

    def wait_for(self, expr: str) -> None:
        """Return once `expr` answers something now."""
        wait_until(f"an answer to {expr}", lambda: bool(self.now(expr)), evidence=lambda: f"{json.dumps(self._asked('targets'))}\n{self.server.tail()}")

    def _asked(self, path: str, **parameters: str) -> Any:
        request = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with _opener().open(request, timeout=SECONDS) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def _ready(self) -> bool:
        try:
            return bool(_opener().open(f"{self.url}/-/ready", timeout=5).status == 200)
        except OSError:
            return False


def scrape_of(monitor: Json, targets: Sequence[Json]) -> Json:
    """The scrape configuration that Prometheus Operator makes of a PodMonitor or ServiceMonitor with one endpoint; `targets` as static configurations."""
    [endpoint] = monitor["spec"].get("podMetricsEndpoints") or monitor["spec"]["endpoints"]
    relabelings = [{_snake(key): value for key, value in rule.items()} for rule in endpoint.get("relabelings", ())]
    known = [_copied(f"__meta_kubernetes_{meta}", label) for meta, label in (("namespace", "namespace"), ("pod_name", "pod"))]
    metadata = monitor["metadata"]
    return {
        "job_name": f"{monitor['kind'].lower()}/{metadata.get('namespace', 'default')}/{metadata['name']}/0",
        "honor_labels": endpoint.get("honorLabels", False),
        "metrics_path": endpoint.get("path", "/metrics"),
        "relabel_configs": [NOT_OVER, *known, *relabelings],
        "static_configs": list(targets),
    }


def pod_target(pod: Json, port: int) -> Json:
    """A pod as Kubernetes' service discovery tells it."""
    metadata, status = pod["metadata"], pod["status"]
    labels = {f"label_{_sanitized(name)}": value for name, value in metadata["labels"].items()}
    labels |= {"name": metadata["name"], "ip": status["podIP"], "phase": status["phase"], "node_name": pod["spec"]["nodeName"]}
    meta = {f"__meta_kubernetes_pod_{name}": value for name, value in labels.items()} | {"__meta_kubernetes_namespace": metadata["namespace"]}
    return {"targets": [f"{status['podIP']}:{port}"], "labels": meta}


def _copied(source: str, target: str) -> Json:
    return {"source_labels": [source], "target_label": target}


def _sanitized(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)


def _snake(name: str) -> str:
    return re.sub(r"(?=[A-Z])", "_", name).lower()


def _blocks(past: str, file: Path, data: Path) -> None:
    file.write_text(past)
    command: Sequence[str | Path] = [debian_program("promtool"), "tsdb", "create-blocks-from", "openmetrics", file, data]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"promtool: {done.stdout}{done.stderr}"


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))
