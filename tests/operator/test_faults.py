"""Every way a run can fail, or be held up, at once in one namespace: what the operator makes of it on a real API server.

The real Job controller counts the pods and fails the Jobs, the real ResourceQuota and LimitRange plugins refuse; only the kubelets are played.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest
from cluster.control_plane import ControlPlane
from cluster.processes import wait_until
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason as Reason
from medfinetune_api.conditions import ConditionType, Phase
from medfinetune_api.exits import Exit
from medfinetune_api.objects import METRICS_PORT, RUN_LABEL
from medfinetune_api.status import FineTuneStatus
from support.api import BATCH, CORE, Json
from support.operated import Operated, endings, operated, phase, reason, text_of
from support.pod_player import SUCCEEDS, WORKS, Act, Part, Script

SECRET = "patient Kim"
"""What a registry, a pod or a file may say, and status, Events and logs must not."""
TWO = {"nodes": 2, "gpusPerNode": 0}
GATE = {name: Event() for name in ("image", "place")}
"""What holds a run up until its test lifts it."""


def first(stage: Stage, *acts: Act) -> Script:
    """The first attempt of a stage ends so, by index; everything else succeeds."""
    return lambda part: acts[part.index % len(acts)] if (part.stage, part.attempt) == (stage, 1) else SUCCEEDS


def always(stage: Stage, act: Act) -> Script:
    return lambda part: act if part.stage is stage else SUCCEEDS


def until(gate: str, act: Act) -> Script:
    """A train pod of index 1 (or the only one) acts so until the gate is lifted."""
    return lambda part: SUCCEEDS if part.stage is not Stage.TRAIN or part.index == 0 or GATE[gate].is_set() else act


def stalled(part: Part) -> Act:
    return Act(address=f"127.0.94.{part.index + 1}") if part.stage is Stage.TRAIN else SUCCEEDS


GANG = first(Stage.TRAIN, Act(exit=143, disrupted=True), Act(exit=Exit.GANG_LOST))
SCRIPTS: dict[str, tuple[Script, dict[str, object]]] = {
    "data": (first(Stage.PREPARE, Act(exit=Exit.INVALID_DATA)), {}),
    "cuda-memory": (first(Stage.TRAIN, Act(exit=Exit.OUT_OF_MEMORY)), {}),
    "host-memory": (first(Stage.TRAIN, Act(exit=137, reason="OOMKilled")), {}),
    "eviction": (first(Stage.TRAIN, Act(exit=143, disrupted=True)), {"runPolicy": {"maxRestarts": 0}}),
    "drained-gang": (GANG, {"parallelism": TWO, "runPolicy": {"maxRestarts": 0}}),
    "crash": (first(Stage.TRAIN, Act(exit=1, message=SECRET)), {}),
    "crashes": (always(Stage.TRAIN, Act(exit=1, message=json.dumps({"message": SECRET}))), {"runPolicy": {"maxRestarts": 1}}),
    "gate": (first(Stage.EVALUATE, Act(exit=Exit.GATE_FAILED)), {}),
    "deadline": (always(Stage.PREPARE, WORKS), {"runPolicy": {"activeDeadlineSeconds": 2}}),
    "stall": (stalled, {"parallelism": TWO, "runPolicy": {"stallTimeoutSeconds": 2, "maxRestarts": 0}}),
    "half-gang": (until("place", Act(placed=False)), {"parallelism": TWO, "runPolicy": {"schedulingTimeoutSeconds": 2}}),
    "image": (lambda part: SUCCEEDS if GATE["image"].is_set() else Act(waits="ImagePullBackOff"), {}),
    "lost-node": (lambda part: Act(deaf=True, waits="ContainerCreating"), {"runPolicy": {"schedulingTimeoutSeconds": 1}}),
    "missing-claim": (lambda part: SUCCEEDS, {"output": {"volume": {"persistentVolumeClaim": {"claimName": "late"}}}}),
    "one-node-volume": (lambda part: SUCCEEDS, {"parallelism": TWO, "output": {"volume": {"persistentVolumeClaim": {"claimName": "once"}}}}),
    "name-taken": (lambda part: SUCCEEDS, {}),
    "not-allowed": (lambda part: SUCCEEDS, {"scheduling": {"priorityClassName": "system-node-critical"}}),
}


class Ranks(BaseHTTPRequestHandler):
    """`/status` of a gang of two ranks: rank 1 stands at step 3 while rank 0 waits for it at step 4."""

    def do_GET(self) -> None:
        index = int(self.server.server_address[0].rpartition(".")[2]) - 1  # type: ignore[union-attr]  # an IPv4 address
        now = datetime.now(UTC).isoformat()
        ranks = [{"rank": index, "step": 4 - index, "asOf": now}]
        said = {
            "stage": "train",
            "step": 4,
            "stepsPlanned": 100,
            "progress": 0.04,
            "loss": 1.5,
            "tokensPerSecond": 10.0,
            "asOf": now,
            "ranks": ranks,
            "text": SECRET,
        }
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def ranks() -> Iterator[None]:
    servers = [ThreadingHTTPServer((f"127.0.94.{index}", METRICS_PORT), Ranks) for index in (1, 2)]
    for server in servers:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def stage(control_plane: ControlPlane, ranks: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """Every case at once."""
    with operated(control_plane, tmp_path_factory.mktemp("faults"), stopSeconds=1) as stage:
        stage.claim("once", "ReadWriteOnce")
        other = {"metadata": {"name": "name-taken-prepare-a1"}, "spec": {"suspend": True, "template": {"spec": {"restartPolicy": "Never", "containers": []}}}}
        other["spec"]["template"]["spec"]["containers"] = [{"name": "x", "image": "x"}]  # type: ignore[index]  # a Job of somebody else
        stage.api.send("POST", f"{BATCH}/namespaces/{stage.home}/jobs", other)
        for name, (script, spec) in SCRIPTS.items():
            stage.apply(name, script, **spec)
        yield stage


@pytest.mark.parametrize(
    ("name", "why", "charged"),
    [
        ("cuda-memory", Reason.OUT_OF_MEMORY, True),
        ("host-memory", Reason.HOST_OUT_OF_MEMORY, True),
        ("eviction", Reason.DISRUPTED, False),
        ("drained-gang", Reason.DISRUPTED, False),
        ("crash", Reason.INTERNAL_ERROR, True),
    ],
)
def test_a_failure_that_a_retry_may_mend_is_tried_again(stage: Operated, name: str, why: Reason, charged: bool) -> None:
    status = stage.wait(name, "succeeded", phase(Phase.SUCCEEDED))
    assert endings(status)[:4] == [
        ("prepare", 1, "Succeeded", False),
        ("train", 1, why, charged),
        ("train", 2, "Succeeded", False),
        ("evaluate", 1, "Succeeded", False),
    ]
    assert status.restarts == int(charged)
    failed = status.attempts[1]
    assert (failed.index, failed.node) == (0, "player")
    assert [attempt.micro_batch for attempt in status.attempts[1:3]] == ([None, 2] if name == "cuda-memory" else [None, None])


def test_the_retry_after_cuda_memory_is_told_its_micro_batch(stage: Operated) -> None:
    stage.wait("cuda-memory", "succeeded", phase(Phase.SUCCEEDED))
    (container,) = stage.jobs("cuda-memory")["cuda-memory-train-a2"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "MEDFINETUNE_MICRO_BATCH", "value": "2"} in container["env"]


@pytest.mark.parametrize(
    ("name", "why", "ended"),
    [
        ("data", Reason.INVALID_DATA, [("prepare", 1, Reason.INVALID_DATA, True)]),
        ("crashes", Reason.INTERNAL_ERROR, [("prepare", 1, "Succeeded", False), *(("train", number, Reason.INTERNAL_ERROR, True) for number in (1, 2))]),
        ("deadline", Reason.DEADLINE_EXCEEDED, [("prepare", 1, Reason.DEADLINE_EXCEEDED, False)]),
        ("stall", Reason.STALLED, [("prepare", 1, "Succeeded", False), ("train", 1, Reason.STALLED, True)]),
    ],
)
def test_a_failure_that_no_retry_mends_is_final(stage: Operated, name: str, why: Reason, ended: list[tuple[str, int, str, bool]]) -> None:
    status = stage.wait(name, "failed", lambda status: status.phase == Phase.FAILED and all(each.end_time for each in status.attempts))
    assert reason(ConditionType.FAILED, why)(status)
    assert [each for each in endings(status) if each[0] != "purge"] == ended
    assert status.artifacts is None or status.artifacts.adapter is None


def test_a_gate_that_failed_quarantines(stage: Operated) -> None:
    status = stage.wait("gate", "quarantined", phase(Phase.QUARANTINED))
    assert status.artifacts
    assert status.artifacts.adapter is None


def test_a_stall_names_the_slow_rank_and_its_node(stage: Operated) -> None:
    status = stage.wait("stall", "failed", phase(Phase.FAILED))
    attempt = next(each for each in status.attempts if each.stage is Stage.TRAIN)
    assert (attempt.index, attempt.node) == (1, "player")
    assert any(event["reason"] == Reason.STALLED and "ank 1" in event["message"] for event in stage.events("stall"))
    assert status.progress
    assert (status.progress.step, status.progress.total_steps, status.progress.loss) == (4, 100, 1.5)


def test_half_a_gang_gives_its_place_back_and_queues_again(stage: Operated) -> None:
    status = stage.wait("half-gang", "tried twice", lambda status: any(each.number == 2 for each in status.attempts if each.stage is Stage.TRAIN))
    assert ("train", 1, Reason.SCHEDULING_TIMEOUT, False) in endings(status)
    GATE["place"].set()
    stage.player.play("half-gang", lambda part: SUCCEEDS)
    assert stage.wait("half-gang", "succeeded", phase(Phase.SUCCEEDED)).restarts == 0


def test_an_image_that_cannot_be_pulled_is_said_until_it_can(stage: Operated) -> None:
    stage.wait("image", "waiting for its image", reason(ConditionType.PREPARED, Reason.IMAGE_PULL_FAILED))
    GATE["image"].set()
    stage.player.play("image", lambda part: SUCCEEDS)
    assert stage.wait("image", "succeeded", phase(Phase.SUCCEEDED)).restarts == 0


def test_a_missing_claim_is_waited_for(stage: Operated) -> None:
    stage.wait("missing-claim", "waiting for its claim", reason(ConditionType.PREPARED, Reason.CLAIM_MISSING))
    assert stage.jobs("missing-claim") == {}
    stage.claim("late")
    stage.wait("missing-claim", "succeeded", phase(Phase.SUCCEEDED))


def test_a_volume_of_one_node_is_refused_to_a_gang_before_anything_starts(stage: Operated) -> None:
    status = stage.wait("one-node-volume", "waiting", reason(ConditionType.PREPARED, Reason.VOLUME_NOT_SHARED))
    assert "ReadWriteMany" in text_of(status.to_json())
    assert stage.jobs("one-node-volume") == {}


def test_what_the_administrator_has_not_allowed_is_not_started(stage: Operated) -> None:
    stage.wait("not-allowed", "waiting", reason(ConditionType.PREPARED, Reason.NOT_ALLOWED))
    assert stage.jobs("not-allowed") == {}


def test_a_name_that_somebody_else_has_is_waited_for(stage: Operated) -> None:
    stage.wait("name-taken", "waiting", reason(ConditionType.PREPARED, Reason.NAME_TAKEN))
    stage.api.send("DELETE", f"{BATCH}/namespaces/{stage.home}/jobs/name-taken-prepare-a1", {"propagationPolicy": "Background"})
    assert [each.number for each in stage.wait("name-taken", "succeeded", phase(Phase.SUCCEEDED)).attempts[:3]] == [1, 1, 1]


def guessed(stage: Operated, name: str, path: str, spec: Json) -> tuple[str, Json]:
    """An object of somebody else, made while the run waits suspended, under the name that the run's own is to have: where it is and what it is."""
    uid = stage.apply(name, lambda part: SUCCEEDS, runPolicy={"suspend": True, "ttlSecondsAfterFinished": 1})
    body = {"metadata": {"name": f"{name}-{uid[:8]}", "labels": {RUN_LABEL: name}}, "spec": spec}
    theirs = stage.api.send("POST", path, body)
    stage.policy(name, suspend=False)
    return f"{path}/{theirs['metadata']['name']}", theirs


def test_a_policy_of_somebody_else_is_not_taken_over(stage: Operated) -> None:
    policies, spec = f"/apis/networking.k8s.io/v1/namespaces/{stage.home}/networkpolicies", {"podSelector": {"matchLabels": {"app": "theirs"}}}
    path, theirs = guessed(stage, "guessed-policy", policies, spec)
    stage.wait("guessed-policy", "waiting", reason(ConditionType.PREPARED, Reason.NAME_TAKEN))
    assert stage.jobs("guessed-policy") == {}
    assert stage.api.get(path) == theirs
    stage.api.send("DELETE", path)
    stage.wait("guessed-policy", "succeeded", phase(Phase.SUCCEEDED))


def test_a_service_of_somebody_else_is_neither_taken_over_nor_deleted(stage: Operated) -> None:
    path, theirs = guessed(stage, "guessed-service", f"{CORE}/namespaces/{stage.home}/services", {"selector": {"app": "theirs"}, "ports": [{"port": 80}]})
    stage.wait("guessed-service", "waiting", reason(ConditionType.TRAINED, Reason.NAME_TAKEN))
    stage.policy("guessed-service", cancel=True)
    stage.wait("guessed-service", "cancelled", phase(Phase.CANCELLED))
    plans = f"{CORE}/namespaces/{stage.home}/configmaps?labelSelector={RUN_LABEL}=guessed-service"
    wait_until("its own objects to go", lambda: not stage.api.items(plans))
    assert stage.api.get(path) == theirs


def quota(stage: Operated, home: str, **hard: str) -> None:
    body = {"metadata": {"name": "quota"}, "spec": {"hard": hard}}
    stage.api.send("POST", f"{CORE}/namespaces/{home}/resourcequotas", body)
    path = f"{CORE}/namespaces/{home}/resourcequotas/quota"
    wait_until("the quota counts", lambda: set((stage.api.get(path) or {}).get("status", {}).get("hard", ())) == set(hard))


@pytest.mark.parametrize("counted", ["count/jobs.batch", "pods", "requests.memory"])
def test_a_quota_holds_a_run_up_and_no_other(stage: Operated, control_plane: ControlPlane, counted: str) -> None:
    with control_plane.namespace() as home:
        there = Operated(stage.cluster, stage.api, home, stage.player, stage.operator)
        for name in ("models", "datasets", "results"):
            there.claim(name)
        quota(stage, home, **{counted: "0"})
        there.apply("held", lambda part: SUCCEEDS)
        there.wait("held", "held up", reason(ConditionType.PREPARED, Reason.QUOTA_EXCEEDED))
        stage.api.send("DELETE", f"{CORE}/namespaces/{home}/resourcequotas/quota")
        assert there.wait("held", "succeeded", phase(Phase.SUCCEEDED)).restarts == 0


def test_pods_that_admission_refuses_are_said_until_it_admits_them(stage: Operated, control_plane: ControlPlane) -> None:
    with control_plane.namespace() as home:
        there = Operated(stage.cluster, stage.api, home, stage.player, stage.operator)
        for name in ("models", "datasets", "results"):
            there.claim(name)
        limit = {"metadata": {"name": "limits"}, "spec": {"limits": [{"type": "Container", "max": {"memory": "1Mi"}}]}}
        stage.api.send("POST", f"{CORE}/namespaces/{home}/limitranges", limit)
        there.apply("refused", lambda part: SUCCEEDS, resources={"prepare": {"limits": {"memory": "1Gi"}}})
        there.wait("refused", "refused", reason(ConditionType.PREPARED, Reason.ADMISSION_REFUSED))
        stage.api.send("DELETE", f"{CORE}/namespaces/{home}/limitranges/limits")
        assert there.wait("refused", "succeeded", phase(Phase.SUCCEEDED)).restarts == 0


def test_what_kubernetes_finds_invalid_is_told_by_field(stage: Operated) -> None:
    """Its author asked for more than the limit, which no rule of the manifest compares."""
    stage.apply("invalid", lambda part: SUCCEEDS, resources={"prepare": {"requests": {"memory": "8Gi"}, "limits": {"memory": "4Gi"}}})
    stage.wait("invalid", "refused", reason(ConditionType.PREPARED, Reason.OBJECT_INVALID))
    [message] = [each.message for each in stage.status("invalid").conditions if each.reason is Reason.OBJECT_INVALID]
    assert "invalid spec.template.spec.containers[0].resources.requests." in message
    assert "spec.resources" in message


def test_a_lost_node_is_named_and_never_forced(stage: Operated) -> None:
    def lost(status: FineTuneStatus) -> bool:
        return any(each.reason is Reason.NODE_LOST and "player" in each.message for each in status.conditions)

    stage.wait("lost-node", "waiting for a lost node", lost)
    (pod,) = stage.pods("lost-node").values()
    assert pod["status"]["phase"] == "Pending"
    stage.player.play("lost-node", lambda part: SUCCEEDS)
    assert stage.wait("lost-node", "succeeded", phase(Phase.SUCCEEDED)).restarts == 0


def test_nothing_that_a_pod_or_a_registry_said_is_repeated(stage: Operated) -> None:
    for name in ("crash", "crashes", "stall", "image"):
        stage.wait(name, "ended", lambda status: status.phase in (Phase.SUCCEEDED, Phase.FAILED))
        told = text_of(stage.api.get(stage.path(name)), stage.events(name), stage.operator.log())
        assert SECRET not in told
        assert "text of a registry" not in told
