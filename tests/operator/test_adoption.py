"""The operator dies, waits, or loses the API server in the middle of everything; what it left goes on as if nothing had been."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.control_plane import ControlPlane
from cluster.processes import wait_until
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason as Reason
from medfinetune_api.conditions import Phase
from medfinetune_operator.resources.children import APPLIED
from support.api import BATCH, MERGE, Api, Json
from support.operated import Operated, endings, operated, phase
from support.operator_process import ACCOUNT, OperatorProcess, operating
from support.pod_player import SUCCEEDS, WORKS, Act, Part
from support.rights import Reviewer, install_rights

WHOLE = [("prepare", 1, "Succeeded", False), ("train", 1, "Succeeded", False), ("evaluate", 1, "Succeeded", False)]
GONE_POD = {"POD_NAME": "operator-of-before"}
"""A holder whose pod does not exist: its Lease is taken over at once."""


def works_in_train(part: Part) -> Act:
    return WORKS if part.stage is Stage.TRAIN else SUCCEEDS


def training(stage: Operated, name: str) -> None:
    stage.apply(name, works_in_train)
    stage.wait(name, "training", lambda status: any(each.stage is Stage.TRAIN and each.running_time for each in status.attempts))


@pytest.fixture
def stage(control_plane: ControlPlane, tmp_path: Path) -> Iterator[Operated]:
    with operated(control_plane, tmp_path, leaseSeconds=60, stopSeconds=1) as stage:
        yield stage


def test_a_killed_operator_is_replaced_without_loss(stage: Operated, tmp_path: Path) -> None:
    for name in ("ends-meanwhile", "goes-on", "job-deleted", "run-deleted", "suspended-meanwhile"):
        training(stage, name)
    before = {name: job["metadata"]["uid"] for each in ("ends-meanwhile", "goes-on") for name, job in stage.jobs(each).items()}
    stage.operator.signal(signal.SIGKILL)
    wait_until("the operator to be dead", stage.operator.server.ended)

    stage.player.play("ends-meanwhile", lambda part: SUCCEEDS)
    stage.api.send("DELETE", f"{BATCH}/namespaces/{stage.home}/jobs/job-deleted-train-a1", {"propagationPolicy": "Foreground"})
    stage.delete("run-deleted")
    stage.policy("suspended-meanwhile", suspend=True)
    stage.apply("came-meanwhile", lambda part: SUCCEEDS)
    wait_until("its Job to end", lambda: "completionTime" in stage.jobs("ends-meanwhile")["ends-meanwhile-train-a1"]["status"])
    wait_until("the other Job to go", lambda: "job-deleted-train-a1" not in stage.jobs("job-deleted"))

    with operating(stage.cluster, tmp_path, GONE_POD, leaseSeconds=60, stopSeconds=1) as heir:
        stage.operator = heir
        stage.wait("suspended-meanwhile", "suspended", phase(Phase.SUSPENDED))
        for name in ("goes-on", "job-deleted"):
            stage.wait(name, "training", lambda status: any(each.stage is Stage.TRAIN and not each.end_time for each in status.attempts))
            stage.player.play(name, lambda part: SUCCEEDS)
        ended = {name: stage.wait(name, "succeeded", phase(Phase.SUCCEEDED)) for name in ("ends-meanwhile", "goes-on", "came-meanwhile", "job-deleted")}
        for name in ("ends-meanwhile", "goes-on", "came-meanwhile"):
            assert endings(ended[name])[:3] == WHOLE
        assert [(number, charged) for of, number, _, charged in endings(ended["job-deleted"]) if of == "train"] == [(1, True), (2, False)]
        after = {name: job["metadata"]["uid"] for each in ("ends-meanwhile", "goes-on") for name, job in stage.jobs(each).items()}
        assert {name: after[name] for name in before} == before
        wait_until("what the deleted run had to go", lambda: not (stage.jobs("run-deleted") or stage.pods("run-deleted")))


def test_an_operator_outlives_the_api_server(tmp_path: Path) -> None:
    with ControlPlane(tmp_path / "own") as cluster, operated(cluster, tmp_path, leaseSeconds=60) as stage:
        training(stage, "through")
        cluster.stop_api_server()
        wait_until("the operator to notice", lambda: any(line.get("error") for line in stage.operator.log()) or stage.operator.asked("/healthz")[0] != 200)
        cluster.start_api_server()
        stage.player.play("through", lambda part: SUCCEEDS)
        assert endings(stage.wait("through", "succeeded", phase(Phase.SUCCEEDED)))[:3] == WHOLE
        assert not stage.operator.server.ended()


def holder(api: Api) -> str:
    lease = api.get("/apis/coordination.k8s.io/v1/namespaces/medfinetune-system/leases/medfinetune-operator")
    return str(lease["spec"]["holderIdentity"]) if lease else ""


def test_of_two_operators_one_works_and_the_other_waits(control_plane: ControlPlane, tmp_path: Path) -> None:
    install_rights(control_plane)
    api = Api(control_plane)
    with operating(control_plane, tmp_path, leaseSeconds=3) as first:
        one = holder(api)
        second = OperatorProcess(control_plane, tmp_path, leaseSeconds=3)
        try:
            second.server.wait_for("serving", lambda: second.asked("/healthz")[0] == 200)
            assert second.asked("/readyz")[0] == 503
            first.signal(signal.SIGTERM)  # lets go of the Lease
            wait_until("the first to end", first.server.ended)
            second.wait_ready()
            two = holder(api)
            third = OperatorProcess(control_plane, tmp_path, leaseSeconds=3)
            try:
                third.server.wait_for("serving", lambda: third.asked("/healthz")[0] == 200)
                second.signal(signal.SIGSTOP)  # as a node that hangs: its Lease expires
                third.wait_ready()
                second.signal(signal.SIGCONT)
                wait_until("the second to see that it is no longer the one", second.server.ended)
                assert [line["event"] for line in second.log()][-1] == "lease lost"
                assert len({one, two, holder(api)}) == 3
            finally:
                third.server.kill()
        finally:
            second.server.kill()


def test_a_lease_whose_holders_pod_is_gone_is_taken_over_at_once(control_plane: ControlPlane, tmp_path: Path) -> None:
    install_rights(control_plane)
    with operating(control_plane, tmp_path, GONE_POD, leaseSeconds=3600) as first:
        first.server.kill()
        with operating(control_plane, tmp_path, {"POD_NAME": "operator-of-now"}, leaseSeconds=3600):
            assert holder(Api(control_plane)) == "operator-of-now"


def test_what_a_watch_never_told_is_found_by_the_resync(stage: Operated) -> None:
    """A NetworkPolicy and a Service that somebody deletes are not watched."""
    training(stage, "meddled")
    for path in (f"/apis/networking.k8s.io/v1/namespaces/{stage.home}/networkpolicies", f"/api/v1/namespaces/{stage.home}/services"):
        (body,) = stage.api.items(f"{path}?labelSelector=medfinetune.io/run=meddled")
        stage.api.send("DELETE", f"{path}/{body['metadata']['name']}")
        wait_until("it to be made again", lambda path=path: len(stage.api.items(f"{path}?labelSelector=medfinetune.io/run=meddled")) == 1)  # type: ignore[misc]
    assert [each.reason for each in stage.status("meddled").attempts] == [Reason.SUCCEEDED, None]


def test_a_policy_as_another_version_applied_it_is_brought_up_to_date(stage: Operated) -> None:
    training(stage, "updated")
    policies = f"/apis/networking.k8s.io/v1/namespaces/{stage.home}/networkpolicies"
    (body,) = stage.api.items(f"{policies}?labelSelector=medfinetune.io/run=updated")
    path, before = f"{policies}/{body['metadata']['name']}", (body["spec"], body["metadata"]["annotations"], body["metadata"]["uid"])
    assert body["spec"]["ingress"]
    stage.api.send("PATCH", path, {"metadata": {"annotations": {APPLIED: "by another version"}}, "spec": {"ingress": []}}, MERGE)

    def now() -> tuple[Json, Json, str]:
        found = stage.api.get(path) or body
        return found["spec"], found["metadata"]["annotations"], found["metadata"]["uid"]

    wait_until("it to be as before", lambda: now() == before)


def test_a_right_that_the_operator_lacks_is_named_in_its_log_and_not_held_against_the_run(stage: Operated) -> None:
    role, right, reviewer = "/apis/rbac.authorization.k8s.io/v1/clusterroles/medfinetune-operator", ("", "services", "create"), Reviewer(stage.cluster)
    rules = (stage.api.get(role) or {})["rules"]
    fewer = [rule | {"verbs": ["get", "list", "patch", "delete"]} if rule["resources"] == ["services"] else rule for rule in rules]
    stage.api.send("PATCH", role, {"rules": fewer}, MERGE)
    try:
        wait_until("the right to be gone", lambda: not reviewer.may(ACCOUNT, stage.home, right))
        stage.apply("unaided", lambda part: SUCCEEDS)
        said = {"run": "unaided", "namespace": stage.home, "error": "403 Forbidden: the operator's account lacks the right to create services"}
        log, tail = stage.operator.log, stage.operator.server.tail
        wait_until("the missing right to be logged", lambda: any(said.items() <= line.items() for line in log()), evidence=tail)
        assert Reason.ADMISSION_REFUSED not in [each.reason for each in stage.status("unaided").conditions]
    finally:
        stage.api.send("PATCH", role, {"rules": rules}, MERGE)
    stage.wait("unaided", "succeeded", phase(Phase.SUCCEEDED))
