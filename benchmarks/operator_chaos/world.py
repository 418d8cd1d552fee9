"""The nodes and the people: every pod of a namespace is played through a fate, and runs are suspended, resumed, cancelled, and made anew when they end.

Writes what a kubelet writes (a pod's binding, status and final deletion) and nothing else; Jobs, evictions and garbage are the real controllers' work.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from medfinetune_api.choices import Stage
from medfinetune_api.exits import Exit
from medfinetune_api.objects import ATTEMPT_LABEL, CONTAINER, INDEX_LABEL, STAGE_LABEL
from medfinetune_api.results import StageResult
from urllib3.exceptions import HTTPError

from benchmarks.operator_setup import RUNS, Json, Refused, Rest

NODES = ("node-0", "node-1")
NUMBERS = {Stage.PREPARE: {"total_steps": 100.0, "micro_batch": 4.0, "evaluate_on_gang": 0.0}}
TERMINAL = ("Succeeded", "Failed", "Quarantined", "Cancelled")
FATES: Mapping[str, int] = {
    "success": 9,
    "crash": 2,
    "out of memory": 3,
    "host out of memory": 2,
    "storage": 1,
    "stalled": 1,
    "drained": 4,
    "half a gang": 5,
    "bad data": 1,
}
"""What happens to an attempt, by weight."""
CODES = {
    "crash": Exit.INTERNAL_ERROR,
    "out of memory": Exit.OUT_OF_MEMORY,
    "storage": Exit.STORAGE_FAILED,
    "stalled": Exit.STALLED,
    "bad data": Exit.INVALID_DATA,
}


@dataclass(frozen=True)
class Fate:
    """What becomes of one Job, and how many seconds it works before."""

    kind: str
    seconds: float


class World:
    """Plays until `close`; hostile until `be_kind`. `told` counts what it did."""

    def __init__(self, rest: Rest, namespace: str, runs: int, seed: int) -> None:
        self._rest, self._namespace, self._wanted = rest, namespace, runs
        self._chance = random.Random(seed)
        self._fates: dict[str, Fate] = {}
        self._since: dict[str, float] = {}
        self._made = 0
        self._hostile, self._over = True, threading.Event()
        self.told: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def open(self) -> None:
        """Make the nodes and the first runs, and begin."""
        for node in NODES:
            self._rest.request("POST", "/api/v1/nodes", {"metadata": {"name": node}})
            self._rest.request("PATCH", f"/api/v1/nodes/{node}/status", {"status": {"conditions": [_condition("Ready", "KubeletReady")]}})
        self._thread.start()

    def be_kind(self) -> None:
        """From now on everything succeeds, and whatever was suspended is resumed."""
        self._hostile = False

    def close(self) -> None:
        """Stop playing."""
        self._over.set()
        self._thread.join(60)

    def runs(self) -> list[Json]:
        """Every run as it is now."""
        return list(self._rest.request("GET", f"{RUNS}/namespaces/{self._namespace}/medfinetunes")["items"])

    def _play(self) -> None:
        while not self._over.wait(0.2):
            with suppress(Refused, HTTPError, OSError):  # the API server is away, or somebody was faster: the next round sees
                self._people()
            with suppress(Refused, HTTPError, OSError):
                for pod in self._rest.request("GET", f"/api/v1/namespaces/{self._namespace}/pods")["items"]:
                    self._tend(pod)

    def _people(self) -> None:
        runs = self.runs()
        open_runs = [run for run in runs if run.get("status", {}).get("phase") not in TERMINAL]
        for _ in range(self._wanted - len(open_runs) if self._hostile else 0):
            self._submit()
        for run in open_runs:
            policy = run["spec"]["runPolicy"]
            if policy["suspend"] and (not self._hostile or self._chance.random() < 0.1):
                self._set(run, suspend=False)
            elif self._hostile and self._chance.random() < 0.004:
                self._set(run, suspend=True)
            elif self._hostile and self._chance.random() < 0.0005:
                self._set(run, cancel=True)

    def _submit(self) -> None:
        from support.manifests import minimal_manifest

        policy = {"maxRestarts": self._chance.choice([3, 100]), "schedulingTimeoutSeconds": 4} | self._chance.choice([{}, {"ttlSecondsAfterFinished": 1}])
        template = {"claimTemplate": {"storage": "1Gi", "accessModes": ["ReadWriteMany"], "storageClassName": "none"}}
        volume = self._chance.choice([{"persistentVolumeClaim": {"claimName": "results"}}, template])
        manifest = minimal_manifest(parallelism={"nodes": 2}, runPolicy=policy)
        manifest["spec"]["output"]["volume"] = volume
        manifest["metadata"]["name"] = f"run-{self._made}"
        self._rest.request("POST", f"{RUNS}/namespaces/{self._namespace}/medfinetunes", manifest, fieldValidation="Strict")
        self._made += 1
        self.told["runs"] += 1

    def _set(self, run: Json, **policy: bool) -> None:
        self._rest.request("PATCH", f"{RUNS}/namespaces/{self._namespace}/medfinetunes/{run['metadata']['name']}", {"spec": {"runPolicy": policy}})
        for name, value in policy.items():
            self.told[f"{name}={value}"] += 1

    def _tend(self, pod: Json) -> None:
        """One step of one pod's life."""
        path, phase = f"/api/v1/namespaces/{self._namespace}/pods/{pod['metadata']['name']}", pod["status"].get("phase")
        job, fate = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"], self._fate(pod)
        with suppress(Refused):  # gone meanwhile
            if phase in ("Succeeded", "Failed"):
                if "deletionTimestamp" in pod["metadata"]:
                    self._rest.request("DELETE", path, {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}})
            elif "deletionTimestamp" in pod["metadata"]:
                self._end(pod, path, Exit.INTERRUPTED)
            elif "nodeName" not in pod["spec"]:
                self._bind(pod, path, fate)
            elif phase != "Running":
                self._rest.request(
                    "PATCH", f"{path}/status", {"status": {"phase": "Running", "conditions": [_condition("Ready", "")], **_container(running={})}}
                )
            elif time.monotonic() - self._since.setdefault(job, time.monotonic()) > fate.seconds:
                self._meet(pod, path, fate)

    def _fate(self, pod: Json) -> Fate:
        """Of the pod's Job; a kind world knows only success."""
        labels = pod["metadata"]["labels"]
        job, stage = labels["batch.kubernetes.io/job-name"], Stage(labels[STAGE_LABEL])
        if job not in self._fates:
            possible = {kind: weight for kind, weight in FATES.items() if _possible(kind, stage)} if self._hostile else {"success": 1}
            kind = self._chance.choices([*possible], [*possible.values()])[0]
            self._fates[job] = Fate(kind, self._chance.uniform(0.2, 3.0))
            self.told[kind] += 1
        fate = self._fates[job]
        return fate if self._hostile else Fate("success", fate.seconds)

    def _bind(self, pod: Json, path: str, fate: Fate) -> None:
        index = int(pod["metadata"]["labels"][INDEX_LABEL])
        if fate.kind == "half a gang" and index == 1:
            return
        target = {"apiVersion": "v1", "kind": "Node", "name": NODES[index]}
        self._rest.request("POST", f"{path}/binding", {"metadata": {"name": pod["metadata"]["name"]}, "target": target})

    def _meet(self, pod: Json, path: str, fate: Fate) -> None:
        """The pod's fate: the highest index is who it befalls, the others of a gang follow."""
        labels = pod["metadata"]["labels"]
        victim = labels[STAGE_LABEL] != Stage.TRAIN or labels[INDEX_LABEL] == "1"
        if fate.kind == "success":
            self._end(pod, path, Exit.SUCCEEDED)
        elif fate.kind == "half a gang":
            return
        elif not victim:
            self._end(pod, path, Exit.GANG_LOST)
        elif fate.kind == "drained":
            self._rest.request("POST", f"{path}/eviction", {"metadata": {"name": pod["metadata"]["name"]}})
        elif fate.kind == "host out of memory":
            self._end(pod, path, 137, "OOMKilled")
        else:
            self._end(pod, path, CODES[fate.kind])

    def _end(self, pod: Json, path: str, code: int, reason: str = "Error") -> None:
        labels = pod["metadata"]["labels"]
        stage = Stage(labels[STAGE_LABEL])
        said = StageResult.of(stage, Exit(code), f"attempt {labels[ATTEMPT_LABEL]}", NUMBERS.get(stage)).to_json() if code in tuple(Exit) else ""
        ended = {"exitCode": int(code), "reason": reason if code else "Completed", "message": said, "finishedAt": _now(), "startedAt": _now()}
        self._rest.request("PATCH", f"{path}/status", {"status": {"phase": "Failed" if code else "Succeeded", **_container(terminated=ended)}})


def _possible(kind: str, stage: Stage) -> bool:
    return {"half a gang": stage is Stage.TRAIN, "bad data": stage is Stage.PREPARE}.get(kind, True)


def _container(**state: Any) -> Json:
    status = {"name": CONTAINER, "image": "trainer", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    return {"containerStatuses": [status]}


def _condition(kind: str, reason: str) -> Json:
    return {"type": kind, "status": "True", "reason": reason, "lastTransitionTime": _now()}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
