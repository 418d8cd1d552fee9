"""The life of a run on a real API server, from apply to its artifacts: as a person sees it, stopped and resumed, cancelled, deleted at every phase."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster.control_plane import ControlPlane
from cluster.processes import wait_until
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason as Reason
from medfinetune_api.conditions import ConditionType, Phase
from support.api import BATCH, CORE
from support.operated import Operated, Test, endings, operated, phase, reason
from support.pod_player import SUCCEEDS, TASKS, WORKS, Act, Script

TEMPLATE = {"persistentVolumeClaim": None, "claimTemplate": {"storage": "1Gi", "accessModes": ["ReadWriteMany"]}}
WHOLE = [("prepare", 1, "Succeeded", False), ("train", 1, "Succeeded", False), ("evaluate", 1, "Succeeded", False), ("purge", 1, "Succeeded", False)]


@pytest.fixture(scope="module")
def stage(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    with operated(control_plane, tmp_path_factory.mktemp("life"), stopSeconds=1) as stage:
        yield stage


def stays_in(stage: Stage | None) -> Script:
    """Pods of `stage` work on and on; those before it succeed."""
    return lambda part: WORKS if part.stage is stage else SUCCEEDS


def at_work(stage: Stage) -> Test:
    """Whether an attempt of `stage` has all its pods running."""
    return lambda status: any(each.stage is stage and each.running_time and not each.end_time for each in status.attempts)


def test_a_run_goes_from_apply_to_its_artifacts(stage: Operated, control_plane: ControlPlane) -> None:
    uid = stage.apply("whole", lambda part: SUCCEEDS, parallelism={"nodes": 2, "gpusPerNode": 0})
    stage.wait("whole", "purged", reason(ConditionType.PURGED, Reason.SUCCEEDED))
    control_plane.kubectl("wait", "--for=condition=Succeeded", "mft/whole", "-n", stage.home, "--timeout=60s")
    status = stage.status("whole")
    assert endings(status) == WHOLE
    assert status.results == TASKS
    assert status.prepared
    assert (status.prepared.micro_batch, status.prepared.total_steps) == (4, 100)
    assert status.artifacts
    assert (status.artifacts.claim_name, status.artifacts.folder, status.artifacts.adapter) == ("results", f"whole-{uid[:8]}", "adapter")
    assert {each.job_uid for each in status.attempts} == {job["metadata"]["uid"] for job in stage.jobs("whole").values()}
    assert sorted(stage.pods("whole").values(), key=lambda pod: pod["metadata"]["name"])[0]["spec"]["automountServiceAccountToken"] is False


def test_a_person_sees_it_in_columns_and_events(stage: Operated, control_plane: ControlPlane) -> None:
    stage.apply("seen", lambda part: SUCCEEDS)
    stage.wait("seen", "purged", reason(ConditionType.PURGED, Reason.SUCCEEDED))
    heading, row = control_plane.kubectl("get", "mft", "seen", "-n", stage.home).stdout.splitlines()
    assert heading.split() == ["NAME", "PHASE", "STAGE", "PROGRESS", "LOSS", "VRAM", "AGE"]
    assert row.split()[:4] == ["seen", "Succeeded", "100", "0.25"]
    wait_until("an Event for each stage", lambda: len([event for event in stage.events("seen") if event["reason"] == "Succeeded"]) >= 4)
    assert {event["type"] for event in stage.events("seen")} == {"Normal"}


def test_a_suspended_run_holds_nothing_and_resumes(stage: Operated) -> None:
    stage.apply("paused", stays_in(Stage.TRAIN))
    stage.wait("paused", "training", at_work(Stage.TRAIN))
    stage.policy("paused", suspend=True)
    status = stage.wait("paused", "suspended", reason(ConditionType.SUSPENDED, Reason.SUSPENDED))
    status = stage.wait("paused", "stopped", lambda status: ("train", 1, Reason.SUSPENDED, False) in endings(status))
    assert not [pod for pod in stage.pods("paused").values() if pod["status"]["phase"] in ("Pending", "Running")]
    stage.player.play("paused", lambda part: SUCCEEDS)
    stage.policy("paused", suspend=False)
    status = stage.wait("paused", "succeeded", phase(Phase.SUCCEEDED))
    assert endings(status)[:3] == [WHOLE[0], ("train", 1, Reason.SUSPENDED, False), ("train", 2, "Succeeded", False)]
    assert status.restarts == 0


def test_a_run_created_suspended_starts_nothing_until_it_may(stage: Operated) -> None:
    stage.apply("asleep", lambda part: SUCCEEDS, runPolicy={"suspend": True})
    stage.wait("asleep", "suspended", phase(Phase.SUSPENDED))
    assert stage.jobs("asleep") == {}
    stage.policy("asleep", suspend=False)
    stage.wait("asleep", "succeeded", phase(Phase.SUCCEEDED))


def test_a_cancelled_run_ends_for_good(stage: Operated) -> None:
    stage.apply("cancelled", stays_in(Stage.TRAIN))
    stage.wait("cancelled", "training", at_work(Stage.TRAIN))
    stage.policy("cancelled", cancel=True)
    status = stage.wait("cancelled", "cancelled", lambda status: status.phase == Phase.CANCELLED and all(each.end_time for each in status.attempts))
    assert reason(ConditionType.FAILED, Reason.CANCELLED)(status)
    assert endings(status)[:2] == [WHOLE[0], ("train", 1, Reason.CANCELLED, False)]


def test_time_to_live_takes_the_children_and_leaves_the_run_and_its_claim(stage: Operated) -> None:
    stage.apply("short", lambda part: SUCCEEDS, output={"volume": TEMPLATE}, runPolicy={"ttlSecondsAfterFinished": 0})
    status = stage.wait("short", "succeeded", phase(Phase.SUCCEEDED))
    wait_until("its children to go", lambda: not (stage.jobs("short") or stage.pods("short") or children(stage, "short")))
    assert stage.status("short").phase == Phase.SUCCEEDED
    assert status.artifacts
    assert stage.api.get(claim_path(stage, status.artifacts.claim_name))


def children(stage: Operated, name: str) -> list[str]:
    """Names of what a run owns besides Jobs."""
    kinds = (f"{CORE}/namespaces/{stage.home}/configmaps", f"{CORE}/namespaces/{stage.home}/services")
    policies = f"/apis/networking.k8s.io/v1/namespaces/{stage.home}/networkpolicies"
    return [each["metadata"]["name"] for path in (*kinds, policies) for each in stage.api.items(f"{path}?labelSelector=medfinetune.io/run={name}")]


def claim_path(stage: Operated, name: str) -> str:
    return f"{CORE}/namespaces/{stage.home}/persistentvolumeclaims/{name}"


PHASES: dict[str, tuple[Script, dict[str, object], Test]] = {
    "pending": (lambda part: SUCCEEDS, {"data": {"volume": {"persistentVolumeClaim": {"claimName": "never"}}}}, phase(Phase.PENDING)),
    "starting": (lambda part: Act(placed=False), {}, reason(ConditionType.PREPARED, Reason.UNSCHEDULABLE)),
    "preparing": (stays_in(Stage.PREPARE), {}, at_work(Stage.PREPARE)),
    "training": (stays_in(Stage.TRAIN), {"parallelism": {"nodes": 2, "gpusPerNode": 0}}, at_work(Stage.TRAIN)),
    "evaluating": (stays_in(Stage.EVALUATE), {}, at_work(Stage.EVALUATE)),
    "purging": (stays_in(Stage.PURGE), {}, at_work(Stage.PURGE)),
    "suspended": (stays_in(Stage.TRAIN), {"runPolicy": {"suspend": True}}, phase(Phase.SUSPENDED)),
    "succeeded": (lambda part: SUCCEEDS, {}, reason(ConditionType.PURGED, Reason.SUCCEEDED)),
}


@pytest.fixture(scope="module")
def deleted(stage: Operated) -> dict[str, str]:
    """A run in each phase; each is deleted once it is there. Their first uids, by name."""
    uids = {name: stage.apply(name, script, **{"output": {"volume": TEMPLATE}, **spec}) for name, (script, spec, _) in PHASES.items()}
    for name, (_, _, there) in PHASES.items():
        stage.wait(name, "where it is deleted", there)
        stage.delete(name)
    return uids


@pytest.mark.parametrize("name", PHASES)
def test_a_run_deleted_in_any_phase_leaves_its_results_and_its_name(stage: Operated, deleted: dict[str, str], name: str) -> None:
    old = f"{name}-{deleted[name][:8]}"
    wait_until(f"{name} to be gone", lambda: stage.api.get(stage.path(name)) is None)
    _, spec, _ = PHASES[name]
    stage.player.play(name, lambda part: SUCCEEDS)
    data = {"data": {"volume": {"persistentVolumeClaim": {"claimName": "datasets"}}}}
    again = stage.apply(name, None, **{"output": {"volume": TEMPLATE}, "parallelism": spec.get("parallelism", {"gpusPerNode": 0}), **data})
    status = stage.wait(name, "succeeded", phase(Phase.SUCCEEDED))
    assert again != deleted[name]
    assert endings(status)[:3] == WHOLE[:3]
    assert status.artifacts
    assert status.artifacts.claim_name == f"{name}-{again[:8]}"
    wait_until("what the first one owned to go", lambda: old not in children(stage, name))
    assert (stage.api.get(claim_path(stage, old)) is not None) == (name not in ("pending", "suspended"))
    assert {job["metadata"]["labels"]["medfinetune.io/run-uid"] for job in stage.jobs(name).values()} == {again}


def test_a_job_that_somebody_deletes_is_tried_again(stage: Operated) -> None:
    """Charged only where nobody saw how its pod ended."""
    stage.apply("robbed", stays_in(Stage.TRAIN))
    stage.wait("robbed", "training", at_work(Stage.TRAIN))
    stage.player.play("robbed", lambda part: WORKS if (part.stage, part.attempt) == (Stage.TRAIN, 1) else SUCCEEDS)
    stage.api.send("DELETE", f"{BATCH}/namespaces/{stage.home}/jobs/robbed-train-a1", {"propagationPolicy": "Foreground"})
    first, second = [each for each in endings(stage.wait("robbed", "succeeded", phase(Phase.SUCCEEDED))) if each[0] == "train"]
    assert first[1:] in [(1, Reason.INTERRUPTED, False), (1, Reason.EVIDENCE_LOST, True)]
    assert second == ("train", 2, "Succeeded", False)
