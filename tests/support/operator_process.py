"""The operator as a real process with its real rights: started, killed, stopped, asked for its metrics."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from cluster.control_plane import ControlPlane
from cluster.processes import Server, free_port

ACCOUNT = "system:serviceaccount:medfinetune-system:medfinetune-operator"
IMAGE = "registry.invalid/trainer:test"

QUICK: Mapping[str, Any] = {
    "trainerImage": IMAGE,
    "backoffSeconds": 0.2,
    "queueSeconds": 0.2,
    "progressSeconds": 0.5,
    "resyncSeconds": 5,
    "nodeLostSeconds": 1,
    "leaseSeconds": 6,
}
"""Settings under which a test need not wait."""


class OperatorProcess:
    """One operator, with its log and settings in `folder`."""

    def __init__(self, cluster: ControlPlane, folder: Path, environment: Mapping[str, str] | None = None, account: str = ACCOUNT, **settings: Any) -> None:
        self.folder, self.port = folder / f"operator-{secrets.token_hex(4)}", free_port()
        self.folder.mkdir(parents=True)
        file = self.folder / "settings.yaml"
        file.write_text(yaml.safe_dump({**QUICK, "metricsPort": self.port, **settings}))
        own = {"KUBECONFIG": str(cluster.kubeconfig_for(account)), "NO_PROXY": "*", **(environment or {})}
        command = [sys.executable, "-m", "medfinetune_operator", "--config", str(file)]
        self.server = Server(command, self.folder / "operator.log", {**os.environ, **own})

    def wait_ready(self) -> None:
        """Return once it leads and has listed everything."""
        self.server.wait_for("answering /readyz", lambda: self.asked("/readyz")[0] == 200)

    def asked(self, path: str) -> tuple[int, str]:
        """Status and text of its answer; status 0 where it does not answer."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def log(self) -> list[dict[str, Any]]:
        """What it has said so far; a line that is no JSON raises ValueError."""
        lines = self.server.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.server.pid, number)


@contextmanager
def operating(cluster: ControlPlane, folder: Path, environment: Mapping[str, str] | None = None, **settings: Any) -> Iterator[OperatorProcess]:
    """An operator that is ready, killed at the end; what it logged must be JSON to the last line."""
    operator = OperatorProcess(cluster, folder, environment, **settings)
    try:
        operator.wait_ready()
        yield operator
    finally:
        operator.server.kill()
