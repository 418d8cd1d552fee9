"""The real command line against a real API server: its processes, and what a test plays in place of operator and node."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from cluster.control_plane import ControlPlane
from cluster.credentials import ADMIN
from medfinetune_api.conditions import ConditionReason, ConditionStatus, ConditionType
from medfinetune_api.objects import ATTEMPT_LABEL, CONTAINER, INDEX_LABEL, RUN_LABEL, STAGE_LABEL, UID_LABEL
from support.cli import SECONDS, command
from support.manifests import minimal_manifest

THEN = "2026-03-01T08:00:00Z"
SHA = "ab" * 32
RESTRICTED = {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
OWN = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


class ClusterCli:
    """`medfinetune` as a person with `kubeconfig` calls it, and the administrator's hands for what operator and node would write."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane, self.namespace = plane, namespace
        self.kubeconfig = plane.kubeconfig_for(ADMIN, namespace)

    def environment(self, kubeconfig: Path | None = None) -> dict[str, str]:
        return os.environ | {"KUBECONFIG": str(kubeconfig or self.kubeconfig), "NO_PROXY": "*", "COLUMNS": "240"}

    def run(self, *arguments: str | Path, kubeconfig: Path | None = None, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """The program to its end; a stack trace is a failure of whatever test asked."""
        done = subprocess.run(
            command(*arguments), capture_output=True, text=True, env=self.environment(kubeconfig), input=input or "", timeout=SECONDS, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def json(self, *arguments: str | Path, kubeconfig: Path | None = None) -> dict[str, Any]:
        """What it writes for a program."""
        done = self.run(*arguments, "--output", "json", kubeconfig=kubeconfig)
        answer: dict[str, Any] = json.loads(done.stdout)
        assert answer.get("exitCode") in (None, done.returncode)
        return answer

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """The program, started."""
        pipe = subprocess.PIPE
        return subprocess.Popen(command(*arguments), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=self.environment())

    def written(self, folder: Path, name: str = "ward", **overrides: Any) -> Path:
        """A manifest file with parts of its spec laid over the minimal one."""
        manifest = minimal_manifest(**overrides)
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**manifest, "metadata": {"name": name}}), encoding="utf-8")
        return path

    def stored(self, name: str = "ward", **overrides: Any) -> dict[str, Any]:
        """A run that the API server has."""
        body = {**minimal_manifest(**overrides), "metadata": {"name": name}}
        return self._kubectl("create", "-f", "-", input=json.dumps(body))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return self._kubectl("get", kind, name)

    def items(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._kubectl("get", kind)["items"]
        return found

    def write_status(self, name: str, status: Mapping[str, Any]) -> None:
        """As the operator does: through the status subresource, checked against the schema."""
        self._kubectl("patch", "mft", name, "--type=merge", "--subresource=status", "-p", json.dumps({"status": status}))

    def add_job(self, run: Mapping[str, Any], stage: str = "train") -> dict[str, Any]:
        """A suspended Job of the run, so that nothing starts: its pod template is what counts."""
        container = {"name": CONTAINER, "image": "registry.example/trainer@sha256:" + SHA, "imagePullPolicy": "IfNotPresent", "securityContext": OWN}
        spec = {"restartPolicy": "Never", "securityContext": RESTRICTED, "nodeSelector": {"zone": "a"}, "containers": [container]}
        labels = self.labels(run, stage, 1)
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": f"{run['metadata']['name']}-{stage}-a1", "labels": labels}}
        return self._kubectl("create", "-f", "-", input=json.dumps({**job, "spec": {"suspend": True, "template": {"spec": spec}}}))

    def add_pod(self, run: Mapping[str, Any], stage: str, attempt: int, rank: int, *, node: str = "", running: bool = False) -> str:
        """A pod of an attempt, with the operator's labels; `node` and `running` play scheduler and kubelet."""
        name = f"{run['metadata']['name']}-{stage}-a{attempt}-{rank}"
        labels = {**self.labels(run, stage, attempt), INDEX_LABEL: str(rank)}
        spec = {"securityContext": RESTRICTED, "containers": [{"name": CONTAINER, "image": "trainer", "securityContext": OWN}]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec | ({"nodeName": node} if node else {})}
        self._kubectl("create", "-f", "-", input=json.dumps(pod))
        if running:
            self.play(name, "Running", {"running": {"startedAt": THEN}})
        return name

    def play(self, pod: str, phase: str, state: Mapping[str, Any], container: str = CONTAINER) -> None:
        """As the kubelet does: the phase of a pod, the state of its container."""
        started = {"name": container, "image": "trainer", "imageID": "", "ready": False, "restartCount": 0, "state": dict(state)}
        status = {"phase": phase, "containerStatuses": [started]}
        self._kubectl("patch", "pod", pod, "--type=merge", "--subresource=status", "-p", json.dumps({"status": status}))

    def labels(self, run: Mapping[str, Any], stage: str, attempt: int) -> dict[str, str]:
        meta = run["metadata"]
        return {RUN_LABEL: meta["name"], UID_LABEL: meta["uid"], STAGE_LABEL: stage, ATTEMPT_LABEL: str(attempt)}

    def _kubectl(self, *arguments: str, input: str | None = None) -> dict[str, Any]:
        done = self.plane.kubectl(*arguments, "-n", self.namespace, "-o", "json", input=input)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def condition(kind: ConditionType, status: ConditionStatus, reason: ConditionReason, message: str = "As it is.") -> dict[str, Any]:
    """One condition, as the operator writes it."""
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": THEN, "observedGeneration": 1}


def attempt(stage: str, number: int, **more: Any) -> dict[str, Any]:
    """One attempt, as the operator writes it."""
    return {"stage": stage, "number": number, "startTime": THEN, **more}


TRAINING: dict[str, Any] = {
    "observedGeneration": 1,
    "phase": "Training",
    "stage": "train",
    "startTime": THEN,
    "restarts": 1,
    "conditions": [
        condition(ConditionType.ACCEPTED, ConditionStatus.TRUE, ConditionReason.RESOLVED),
        condition(ConditionType.PREPARED, ConditionStatus.TRUE, ConditionReason.SUCCEEDED),
        condition(ConditionType.TRAINED, ConditionStatus.FALSE, ConditionReason.RUNNING),
    ],
    "attempts": [
        attempt("prepare", 1, endTime="2026-03-01T08:05:00Z", reason="Succeeded", exitCode=0),
        attempt("train", 1, endTime="2026-03-01T08:09:00Z", reason="OutOfMemory", exitCode=76, charged=True, node="gpu-7", resumeStep=0),
        attempt("train", 2, microBatch=2, resumeStep=50),
    ],
    "progress": {"step": 75, "totalSteps": 300, "percent": 25, "secondsLeft": 3700.0, "loss": 1.25, "tokensPerSecond": 5120.0, "updateTime": THEN},
}
"""In the middle of the second attempt to train, after memory ran out in the first."""

SUCCEEDED: dict[str, Any] = {
    **TRAINING,
    "phase": "Succeeded",
    "stage": None,
    "completionTime": "2026-03-01T10:00:00Z",
    "conditions": [
        *(condition(kind, ConditionStatus.TRUE, ConditionReason.SUCCEEDED) for kind in (ConditionType.PREPARED, ConditionType.TRAINED)),
        condition(ConditionType.SUCCEEDED, ConditionStatus.TRUE, ConditionReason.SUCCEEDED),
    ],
    "results": [
        {"task": "kormedmcqa", "language": "ko", "questions": 878, "accuracy": 0.52, "low": 0.487, "high": 0.553, "baseAccuracy": 0.31, "beyondNoise": True}
    ],
    "artifacts": {"claimName": "results", "folder": "ward-01234567", "adapter": "adapter", "planSha256": SHA},
}


def failed(reason: ConditionReason, /, **last: Any) -> dict[str, Any]:
    """A run that ended without an adapter; `last` is its deciding attempt."""
    ended = condition(ConditionType.FAILED, ConditionStatus.TRUE, reason, "It failed.")
    status = {"phase": "Cancelled" if reason is ConditionReason.CANCELLED else "Failed", "conditions": [ended], "completionTime": THEN}
    return {**status, "attempts": [attempt("train", 1, endTime=THEN, **last)] if last else []}
