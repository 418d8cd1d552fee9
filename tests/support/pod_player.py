"""Plays the kubelets: binds pods to a Node object, lets them run, ends them as a test's script says, and finishes deletions. Everything else is real.

A script says of each pod what becomes of it: `script(part) -> Act`. It is asked again whenever the pod changes, so it may wait for the test.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cluster.control_plane import ControlPlane
from medfinetune_api.choices import Stage
from medfinetune_api.exits import Exit
from medfinetune_api.objects import ATTEMPT_LABEL, CONTAINER, INDEX_LABEL, RUN_LABEL, STAGE_LABEL
from medfinetune_api.results import StageResult, TaskResult
from support.api import CORE, MERGE, Answer, Api, Json

NODE = "player"
FACTS: Mapping[Stage, Mapping[str, float]] = {
    Stage.PREPARE: {"micro_batch": 4, "total_steps": 100, "evaluate_on_gang": 0},
    Stage.TRAIN: {"loss": 0.25, "resumed_from_step": 0},
}
"""What the stages say at their end."""
TASKS = (TaskResult(task="medqa", language="en", questions=100, accuracy=0.7, low=0.6, high=0.78, base_accuracy=0.5),)


@dataclass(frozen=True)
class Part:
    """A pod's place: which run, stage, attempt and index."""

    run: str
    stage: Stage
    attempt: int
    index: int


@dataclass(frozen=True)
class Act:
    """What becomes of a pod. The default: it runs until it is told to stop, and then leaves as a stage does that wrote a checkpoint."""

    exit: int | None = None
    """Exit code to end with; None runs on."""
    reason: str | None = None
    """Kubernetes' reason of the container's end, such as OOMKilled."""
    message: str | None = None
    """Termination message; None for the stage's own."""
    waits: str | None = None
    """Reason of a container that does not start, such as ImagePullBackOff."""
    placed: bool = True
    """False for a pod that no node has room for."""
    disrupted: bool = False
    """Condition DisruptionTarget: evicted, drained or preempted."""
    deaf: bool = False
    """Does not end when it is asked to: its node is lost."""
    address: str = "192.0.2.1"
    """The pod's IP; the default is for documentation, and leads nowhere."""


WORKS, SUCCEEDS = Act(), Act(exit=0)
Script = Callable[[Part], Act]


@dataclass
class PodPlayer:
    """Plays every pod that an operator's Jobs made on a control plane; `scripts` by name of the run, and `otherwise` for the rest."""

    api: Api
    otherwise: Script = lambda part: SUCCEEDS
    scripts: dict[str, Script] = field(default_factory=dict)
    _pods: dict[str, Json] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _over: bool = False

    def play(self, run: str, script: Script) -> None:
        """Let `script` decide about the pods of `run` from now on, those that run already included."""
        with self._lock:
            self.scripts[run] = script
            for pod in [pod for pod in self._pods.values() if part_of(pod).run == run]:
                self._act(pod)

    def follow(self) -> None:
        """Play until `end`; the API server may go and come back."""
        while not self._over:
            try:
                found = self.api.send("GET", f"{CORE}/pods?labelSelector={RUN_LABEL},{INDEX_LABEL}")
                with self._lock:
                    self._pods = {}
                    for pod in found["items"]:
                        self._saw({"type": "ADDED", "object": pod})
                for event in self.api.watch(f"{CORE}/pods", found["metadata"]["resourceVersion"]):
                    if self._over:
                        return
                    self._saw(event)
            except (Answer, OSError, ValueError):
                threading.Event().wait(0.2)

    def end(self) -> None:
        """Stop playing at the next event."""
        self._over = True

    def _saw(self, event: Json) -> None:
        pod = event["object"]
        if event["type"] == "BOOKMARK" or not {RUN_LABEL, INDEX_LABEL} <= pod["metadata"].get("labels", {}).keys():
            return
        with self._lock:
            if event["type"] == "DELETED":
                self._pods.pop(pod["metadata"]["uid"], None)
            else:
                self._pods[pod["metadata"]["uid"]] = pod
                self._act(pod)

    def _act(self, pod: Json) -> None:
        """One step towards what the script says. A pod that changed meanwhile comes by again."""
        part = part_of(pod)
        act = self.scripts.get(part.run, self.otherwise)(part)
        try:
            self._step(pod, part, act)
        except Answer as answer:
            if answer.status not in (404, 409):
                raise

    def _step(self, pod: Json, part: Part, act: Act) -> None:
        phase, path = pod["status"].get("phase"), path_of(pod)
        if phase in ("Succeeded", "Failed"):
            if "deletionTimestamp" in pod["metadata"] and not act.deaf:
                self.api.send("DELETE", path, {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}})
        elif "deletionTimestamp" in pod["metadata"]:
            if not act.deaf:
                self._status(pod, _ended(part, Act(exit=Exit.INTERRUPTED, disrupted=act.disrupted)))
        elif not act.placed:
            self._status(pod, {"conditions": [_condition("PodScheduled", "False", "Unschedulable")]})
        elif not pod["spec"].get("nodeName"):
            target = {"target": {"kind": "Node", "name": NODE}}
            self.api.send("POST", f"{path}/binding", {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod["metadata"]["name"]}, **target})
        elif act.waits or phase != "Running":
            self._status(pod, _waiting(act) if act.waits else _running(act))
        elif act.exit is not None:
            self._status(pod, _ended(part, act))

    def _status(self, pod: Json, status: Json) -> None:
        """Write a status that is not there yet."""
        if any(pod["status"].get(name) != value for name, value in status.items() if name in ("phase", "podIP")) or _states(pod["status"]) != _states(status):
            self.api.send("PATCH", f"{path_of(pod)}/status", {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}, MERGE)


@contextmanager
def playing(cluster: ControlPlane, otherwise: Script = lambda part: SUCCEEDS) -> Iterator[PodPlayer]:
    """A player at work while the block runs, with the Node that its pods are bound to."""
    api = Api(cluster)
    cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
    player = PodPlayer(api, otherwise)
    thread = threading.Thread(target=player.follow, name="pod player", daemon=True)
    thread.start()
    try:
        yield player
    finally:
        player.end()


def part_of(pod: Json) -> Part:
    """A pod's place, from its labels."""
    labels = pod["metadata"]["labels"]
    return Part(labels[RUN_LABEL], Stage(labels[STAGE_LABEL]), int(labels[ATTEMPT_LABEL]), int(labels[INDEX_LABEL]))


def path_of(pod: Json) -> str:
    """Where the API server keeps a pod."""
    return f"{CORE}/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def _running(act: Act) -> Json:
    return {"phase": "Running", "podIP": act.address, "podIPs": [{"ip": act.address}], **_container({"running": {}})}


def _waiting(act: Act) -> Json:
    return {"phase": "Pending", **_container({"waiting": {"reason": act.waits, "message": "text of a registry"}})}


def _ended(part: Part, act: Act) -> Json:
    assert act.exit is not None
    said = StageResult.of(part.stage, Exit(act.exit) if act.exit in tuple(Exit) else Exit.INTERNAL_ERROR, "", *_said(part.stage, act.exit)).to_json()
    terminated = {"exitCode": act.exit, "reason": act.reason or ("Error" if act.exit else "Completed"), "message": said if act.message is None else act.message}
    conditions = [_condition("DisruptionTarget", "True", "EvictionByEvictionAPI")] if act.disrupted else []
    return {"phase": "Failed" if act.exit else "Succeeded", "conditions": conditions, **_container({"terminated": terminated})}


def _said(stage: Stage, code: int) -> tuple[Mapping[str, float], tuple[TaskResult, ...]]:
    return (FACTS.get(stage, {}), TASKS if stage is Stage.EVALUATE else ()) if code == 0 else ({}, ())


def _container(state: Json) -> Json:
    return {"containerStatuses": [{"name": CONTAINER, "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": state}]}


def _condition(kind: str, status: str, reason: str) -> Json:
    return {"type": kind, "status": status, "reason": reason}


def _states(status: Json) -> Any:
    """What matters of a status for whether it has to be written: the container's state and the conditions' words."""
    states = [(state, of.get("reason")) for each in status.get("containerStatuses") or () for state, of in each["state"].items()]
    return states or [(each["type"], each.get("reason")) for each in status.get("conditions") or ()]
