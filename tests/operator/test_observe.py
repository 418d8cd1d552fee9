"""Observations from Kubernetes' objects: each fact against the object that shows it, and no object, however odd, that stops the operator."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason as Reason
from medfinetune_api.exits import Exit
from medfinetune_api.results import StageResult
from medfinetune_operator.client import ApiError
from medfinetune_operator.observation import Claim, Job, Pod, PodPhase
from medfinetune_operator.observe import claim_of, job_of, pod_of
from medfinetune_operator.refusals import refusal_of

Json = dict[str, Any]

RESULT = StageResult.of(Stage.TRAIN, Exit.SUCCEEDED, "done", {"loss": 0.5})
ATTEMPT = {"medfinetune.io/run": "run", "medfinetune.io/run-uid": "u", "medfinetune.io/stage": "train", "medfinetune.io/attempt": "2"}
POD: Json = {
    "metadata": {
        "name": "p",
        "uid": "pod",
        "labels": {**ATTEMPT, "batch.kubernetes.io/job-completion-index": "1"},
        "deletionTimestamp": "2026-01-01T00:10:00Z",
    },
    "spec": {"nodeName": "node-1"},
    "status": {
        "phase": "Failed",
        "podIP": "10.0.0.1",
        "conditions": [{"type": "DisruptionTarget", "status": "True"}, {"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [
            {"name": "sidecar", "state": {"terminated": {"exitCode": 9}}},
            {"name": "trainer", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": RESULT.to_json()}}},
        ],
    },
}
JOB: Json = {
    "metadata": {"name": "j", "uid": "job", "labels": ATTEMPT, "creationTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [{"uid": "u"}]},
    "spec": {"completions": 2, "suspend": False},
    "status": {"startTime": "2026-01-01T00:00:01Z", "conditions": [{"type": "FailureTarget", "status": "True"}, {"type": "Failed", "status": "False"}]},
}


def test_a_pod() -> None:
    assert pod_of(POD) == Pod(
        name="p",
        uid="pod",
        stage=Stage.TRAIN,
        attempt=2,
        index=1,
        phase=PodPhase.FAILED,
        node="node-1",
        address="10.0.0.1",
        exit_code=137,
        oom_killed=True,
        disrupted=True,
        result=RESULT,
        deletion=datetime(2026, 1, 1, 0, 10, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        ({"containerStatuses": [{"name": "trainer", "state": {"waiting": {"reason": "ErrImagePull"}}}]}, Reason.IMAGE_PULL_FAILED),
        ({"containerStatuses": [{"name": "trainer", "state": {"waiting": {"reason": "InvalidImageName"}}}]}, Reason.IMAGE_PULL_FAILED),
        ({"containerStatuses": [{"name": "trainer", "state": {"waiting": {"reason": "CreateContainerConfigError"}}}]}, Reason.CONTAINER_FAILED),
        ({"containerStatuses": [{"name": "trainer", "state": {"waiting": {"reason": "CreateContainerError"}}}]}, Reason.CONTAINER_FAILED),
        ({"containerStatuses": [{"name": "trainer", "state": {"waiting": {"reason": "RunContainerError"}}}]}, Reason.CONTAINER_FAILED),
        ({"containerStatuses": [{"name": "trainer", "state": {"waiting": {"reason": "ContainerCreating"}}}]}, None),
        ({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}, Reason.UNSCHEDULABLE),
        ({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}, None),
    ],
)
def test_what_keeps_a_pod_from_running(status: Json, trouble: Reason | None) -> None:
    pod = pod_of({**POD, "status": {"phase": "Pending", **status}})
    assert pod
    assert (pod.trouble, pod.exit_code, pod.result) == (trouble, None, None)


def test_a_job_whose_failure_is_only_intended_lives() -> None:
    expected = Job(
        name="j",
        uid="job",
        stage=Stage.TRAIN,
        number=2,
        pods_wanted=2,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        started=datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC),
    )
    assert job_of(JOB, "u") == expected
    assert expected.live


def test_a_job_of_another_run_is_not_owned() -> None:
    job = job_of(JOB, "somebody-else")
    assert job
    assert not job.owned


def test_claims() -> None:
    body = {"spec": {"accessModes": ["ReadWriteMany"]}, "status": {"phase": "Bound"}}
    assert claim_of("spec.data.volume", "datasets", body) == Claim("spec.data.volume", "datasets", "Bound", ("ReadWriteMany",))
    assert claim_of("spec.data.volume", "datasets", None).phase is None


@pytest.mark.parametrize(
    ("status", "word", "text", "reason"),
    [
        (403, "Forbidden", 'pods "x" is forbidden: exceeded quota: q, requested: pods=1', Reason.QUOTA_EXCEEDED),
        (403, "Forbidden", "failed quota: q: must specify memory", Reason.QUOTA_EXCEEDED),
        (403, "Forbidden", 'violates PodSecurity "restricted:latest"', Reason.ADMISSION_REFUSED),
        (403, "Forbidden", 'services is forbidden: User "operator" cannot create resource "services" in API group "" in the namespace "ns"', None),
        (403, "Forbidden", 'networkpolicies.networking.k8s.io "x" is forbidden: User "operator" cannot patch resource "networkpolicies"', None),
        (403, "Forbidden", 'admission webhook "w" denied the request: pods "x" is forbidden: User "jane" must ask first', Reason.ADMISSION_REFUSED),
        (400, "BadRequest", 'admission webhook "w" denied the request', Reason.ADMISSION_REFUSED),
        (422, "Invalid", "spec.template: Invalid value", Reason.ADMISSION_REFUSED),
        (409, "AlreadyExists", "", Reason.NAME_TAKEN),
        (409, "Conflict", "", None),
        (500, "InternalError", "", None),
        (429, "TooManyRequests", "", None),
    ],
)
def test_a_refusal_is_named_and_a_failure_is_none(status: int, word: str, text: str, reason: Reason | None) -> None:
    error = ApiError(status, word, text)
    assert refusal_of(error) == reason
    assert text == "" or text not in f"{error} {error!r}"


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01", "-1", "٣", "train"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(body: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in an object."""
    inner = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    return [path] * bool(path) + [place for step, value in inner for place in places(value, (*path, step))]


@given(st.sampled_from([POD, JOB]), st.data())
def test_an_object_with_junk_anywhere_is_read_or_left_out(whole: Json, data: st.DataObject) -> None:
    body = copy.deepcopy(whole)
    *above, step = data.draw(st.sampled_from(places(whole)))
    inner: Any = body
    for each in above:
        inner = inner[each]
    inner[step] = data.draw(JUNK)
    pod, job = pod_of(body), job_of(body, "u")
    assert pod is None or (pod.attempt >= 1 and pod.index >= 0 and (pod.exit_code is None or 0 <= pod.exit_code <= 255))
    assert job is None or (job.number >= 1 and job.created.tzinfo is not None)
    claim_of("field", "name", body)
