"""A namespace of a real control plane with the real operator at work and played kubelets: runs applied, awaited, changed, deleted."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.control_plane import ControlPlane
from cluster.processes import wait_until
from medfinetune_api.conditions import ConditionReason, ConditionType
from medfinetune_api.status import FineTuneStatus
from support.api import BATCH, CORE, MERGE, RUNS, Answer, Api, Json
from support.manifests import minimal_manifest
from support.operator_process import OperatorProcess, operating
from support.pod_player import SUCCEEDS, PodPlayer, Script, playing
from support.rights import install_rights

Test = Callable[[FineTuneStatus], object]


@dataclass
class Operated:
    """One namespace, `home`, and who works in it."""

    cluster: ControlPlane
    api: Api
    home: str
    player: PodPlayer
    operator: OperatorProcess

    def apply(self, name: str, script: Script | None = None, **spec: Any) -> str:
        """Create a run whose pods play `script`; its spec is the smallest with `spec` laid over it. Returns its uid."""
        if script:
            self.player.play(name, script)
        manifest = minimal_manifest(parallelism={"gpusPerNode": 0}, **spec) if "parallelism" not in spec else minimal_manifest(**spec)
        manifest["metadata"]["name"] = name
        uid: str = self.api.send("POST", f"{RUNS}/namespaces/{self.home}/medfinetunes?fieldValidation=Strict", manifest)["metadata"]["uid"]
        return uid

    def path(self, name: str) -> str:
        """Where the API server keeps a run."""
        return f"{RUNS}/namespaces/{self.home}/medfinetunes/{name}"

    def status(self, name: str) -> FineTuneStatus:
        """A run's status; an empty one where the run is gone."""
        return FineTuneStatus.model_validate((self.api.get(self.path(name)) or {}).get("status") or {})

    def wait(self, name: str, what: str, test: Test) -> FineTuneStatus:
        """The first status of a run that passes `test`. Raises AssertionError with the status and the operator's log."""
        wait_until(
            f"{name} to be {what}", lambda: bool(test(self.status(name))), evidence=lambda: f"{self.status(name).to_json()}\n{self.operator.server.tail()}"
        )
        return self.status(name)

    def policy(self, name: str, **changes: Any) -> None:
        """Change a run's runPolicy."""
        self.api.send("PATCH", self.path(name), {"spec": {"runPolicy": changes}}, MERGE)

    def delete(self, name: str) -> None:
        """Delete a run as `kubectl delete` does, without waiting."""
        self.api.send("DELETE", self.path(name), {"propagationPolicy": "Background"})

    def jobs(self, name: str) -> dict[str, Json]:
        """The Jobs that carry a run's name, by name."""
        return self._labelled(f"{BATCH}/namespaces/{self.home}/jobs", name)

    def pods(self, name: str) -> dict[str, Json]:
        """The pods that carry a run's name, by name."""
        return self._labelled(f"{CORE}/namespaces/{self.home}/pods", name)

    def claim(self, name: str, mode: str = "ReadWriteMany") -> None:
        """Create a claim."""
        spec = {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}}
        self.api.send("POST", f"{CORE}/namespaces/{self.home}/persistentvolumeclaims", {"metadata": {"name": name}, "spec": spec})

    def events(self, name: str) -> list[Json]:
        """The Events about a run."""
        query = f"fieldSelector=involvedObject.kind=MedFineTune,involvedObject.name={name}"
        return self.api.items(f"{CORE}/namespaces/{self.home}/events?{query}")

    def _labelled(self, path: str, name: str) -> dict[str, Json]:
        return {each["metadata"]["name"]: each for each in self.api.items(f"{path}?labelSelector=medfinetune.io/run={name}")}


@contextmanager
def operated(cluster: ControlPlane, folder: Path, script: Script = lambda part: SUCCEEDS, **settings: Any) -> Iterator[Operated]:
    """A fresh namespace with the three claims that the smallest manifest names, a player and an operator."""
    install_rights(cluster)
    pod = {"POD_NAME": f"operator-{secrets.token_hex(4)}"}  # of no pod: the next operator takes its Lease over at once
    with cluster.namespace() as home, playing(cluster, script) as player, operating(cluster, folder, pod, **settings) as operator:
        stage = Operated(cluster, Api(cluster), home, player, operator)
        for name in ("models", "datasets", "results"):
            stage.claim(name)
        yield stage


def phase(name: str) -> Test:
    """Whether a run is in that phase."""
    return lambda status: status.phase == name


def reason(of: ConditionType, why: ConditionReason) -> Test:
    """Whether a condition has that reason."""
    return lambda status: any((each.type, each.reason) == (of, why) for each in status.conditions)


def endings(status: FineTuneStatus) -> list[tuple[str, int, str, bool]]:
    """Stage, number, reason and whether it was charged, of each attempt that has ended."""
    return [(each.stage.value, each.number, str(each.reason), each.charged) for each in status.attempts if each.end_time]


def refused(call: Callable[[], object]) -> int:
    """Status of the API server's no. Raises AssertionError where it says yes."""
    try:
        call()
    except Answer as answer:
        return answer.status
    raise AssertionError("not refused")


def text_of(*objects: Any) -> str:
    """Everything written in some objects."""
    return json.dumps(objects)
