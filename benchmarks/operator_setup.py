"""What both operator benchmarks need: the real control plane of the tests, the operator as a process with the rights it is deployed with, JSON over HTTP."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the control plane and the manifests of the tests; a benchmark is run from a clone

from cluster.control_plane import ControlPlane  # noqa: E402  # lies in what the line above adds
from support.rights import install_rights  # noqa: E402

Json = dict[str, Any]
RUNS = "/apis/medfinetune.io/v1alpha1"
SYSTEM, ACCOUNT = "medfinetune-system", "medfinetune-operator"
RESULTS = ROOT / "benchmarks" / "results"


class Refused(Exception):  # noqa: N818  # the field's word
    """The API server answered with an error; `status` is its HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:300]}")
        self.status = status


class Rest:
    """JSON requests of one kubeconfig's user, over kept-alive connections; may be shared between threads."""

    def __init__(self, kubeconfig: Path, connections: int = 8) -> None:
        content = yaml.safe_load(kubeconfig.read_text())
        cluster = content["clusters"][0]["cluster"]
        self._server = cluster["server"]
        self._headers = {"Authorization": f"Bearer {content['users'][0]['user']['token']}", "Accept": "application/json"}
        self._pool = urllib3.PoolManager(maxsize=connections, block=True, ca_certs=cluster["certificate-authority"], retries=False)

    def request(self, method: str, path: str, body: Any = None, **query: str) -> Json:
        """The answer's JSON. Raises Refused, or urllib3's HTTPError where nobody answers."""
        kind = {"Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
        data = None if body is None else json.dumps(body)
        answer = self._pool.request(method, self._url(path, query), body=data, headers=self._headers | kind, timeout=30.0)
        if answer.status >= 300:
            raise Refused(answer.status, answer.data.decode(errors="replace"))
        return dict(answer.json())

    def watch(self, path: str, version: str, seconds: int = 60) -> Iterator[Json]:
        """Events from `version` on, until the API server or `seconds` end the watch."""
        query = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        wait = urllib3.Timeout(connect=5, read=seconds + 10)
        answer = self._pool.request("GET", self._url(path, query), headers=self._headers, preload_content=False, timeout=wait)
        try:
            if answer.status >= 300:
                raise Refused(answer.status, answer.data.decode(errors="replace"))
            rest = b""
            for chunk in answer.stream(amt=None):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (json.loads(line) for line in lines if line)
        finally:
            answer.close()

    def _url(self, path: str, query: Mapping[str, str]) -> str:
        return f"{self._server}{path}" + (f"?{urlencode(query)}" if query else "")


def deploy_rights(cluster: ControlPlane) -> None:
    """The operator's namespace, account and roles, as the chart renders them."""
    install_rights(cluster)


def operator_kubeconfig(cluster: ControlPlane, folder: Path, url: str | None = None, authority: Path | None = None) -> Path:
    """A kubeconfig of the operator's service account; `url` and `authority` lead it through a proxy."""
    content = yaml.safe_load(cluster.kubeconfig_for(f"system:serviceaccount:{SYSTEM}:{ACCOUNT}").read_text())
    if url and authority:
        content["clusters"][0]["cluster"] = {"server": url, "certificate-authority": str(authority)}
    path = folder / "operator.kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return path


def settings_file(folder: Path, **settings: Any) -> Path:
    """The operator's settings file: an image that nobody pulls, a free port for metrics."""
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump({"trainerImage": "trainer:benchmark", "metricsPort": 0, **settings}))
    return path


def operator_environment(kubeconfig: Path, name: str) -> dict[str, str]:
    """Environment of the operator process; `name` is the pod that it says it is."""
    return os.environ | {"KUBECONFIG": str(kubeconfig), "POD_NAME": name, "POD_NAMESPACE": SYSTEM, "NO_PROXY": "*", "OMP_NUM_THREADS": "1"}


def claims(rest: Rest, namespace: str) -> None:
    """The three volumes of the tests' minimal manifest, which several nodes may mount; no provisioner binds them."""
    for name in ("models", "datasets", "results"):
        spec = {"accessModes": ["ReadWriteMany"], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}}
        rest.request("POST", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", {"metadata": {"name": name}, "spec": spec})


def machine() -> Json:
    """What a reader needs to judge the figures; niceness below 0 kept the machine's other load away."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    known = {"cores": os.cpu_count(), "memory_gb": round(memory, 1), "python": platform.python_version(), "architecture": platform.machine()}
    return known | {"processor": _processor(), "niceness": os.getpriority(os.PRIO_PROCESS, 0)}


def _processor() -> str:
    """The processor's name as Linux has it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def load() -> float:
    """Processes that want a core, averaged over the last minute: what else the machine was doing, if read before a benchmark begins."""
    return round(os.getloadavg()[0], 1)
