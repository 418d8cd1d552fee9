"""What a run waits for: each with field or object, what was found, what was expected and what to do; and that nothing is started meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason as Reason
from medfinetune_api.conditions import ConditionStatus, ConditionType, Phase
from medfinetune_operator.decision import Decision
from medfinetune_operator.observation import Claim, Job, Pod, PodPhase, Refusal
from medfinetune_operator.settings import Settings
from support.observed import NOW, SETTINGS, a_job, a_pod, a_run, after, attempt, condition, decide, later, reached, running

GANG = {"parallelism": {"nodes": 2, "gpusPerNode": 1}}
TEMPLATE = {"output": {"volume": {"claimTemplate": {"storage": "10Gi", "accessModes": ["ReadWriteMany"]}, "persistentVolumeClaim": None}}}
OUTPUT, MODELS = "spec.output.volume", "spec.model.volume"


def waits(decision: Decision, kind: ConditionType, reason: Reason, *words: str) -> None:
    """It says why, names what is to be named, and starts nothing."""
    found = condition(decision, kind)
    assert (found.status, found.reason) == (ConditionStatus.FALSE, reason)
    assert [word for word in words if word not in found.message] == [], found.message
    assert decision.start is None


def test_a_manifest_that_has_no_plan_is_final() -> None:
    decision = decide(a_run(evaluation={"tasks": [{"name": "a", "path": "a", "format": "Chat", "language": "en"}]}))
    waits(decision, ConditionType.ACCEPTED, Reason.INVALID_MANIFEST, "spec", "expected")
    assert (decision.status.phase, decision.status.completion_time, decision.status.attempts) == (Phase.FAILED, NOW, ())
    assert condition(decision, ConditionType.FAILED).status is ConditionStatus.TRUE
    assert [note.reason for note in decision.notes] == [Reason.INVALID_MANIFEST]


ASKED: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"pods": {"image": "elsewhere/trainer:1"}}, {"images": ["elsewhere/trainer:1"]}, ["spec.pods.image", "elsewhere/trainer:1", "allowed.images"]),
    ({"scheduling": {"priorityClassName": "first"}}, {"priorityClasses": ["first"]}, ["spec.scheduling.priorityClassName", "first", "allowed.priorityClasses"]),
    ({"scheduling": {"runtimeClassName": "kata"}}, {"runtimeClasses": ["kata"]}, ["spec.scheduling.runtimeClassName", "kata", "allowed.runtimeClasses"]),
    ({"pods": {"labels": {"app": "web"}}}, {"labels": ["app"]}, ["spec.pods.labels[app]", "allowed.labels"]),
    (
        {"scheduling": {"tolerations": [{"key": "gpu", "operator": "Exists"}]}},
        {"tolerations": [{"key": "gpu", "operator": "Exists"}]},
        ["spec.scheduling.tolerations[0]", "gpu", "allowed.tolerations"],
    ),
]


@pytest.mark.parametrize(("spec", "allowed", "words"), ASKED)
def test_what_the_administrator_has_not_allowed_waits_and_goes_on_once_it_is(spec: dict[str, Any], allowed: dict[str, Any], words: list[str]) -> None:
    refused = decide(a_run(**spec))
    waits(refused, ConditionType.ACCEPTED, Reason.NOT_ALLOWED, *words, "administrator")
    assert (refused.status.attempts, refused.status.phase) == ((), Phase.PENDING)
    assert [note.reason for note in refused.notes] == [Reason.NOT_ALLOWED]
    settings = Settings(trainer_image="trainer", allowed=allowed)
    accepted = decide(after(a_run(**spec), refused), settings=settings)
    assert condition(accepted, ConditionType.ACCEPTED).status is ConditionStatus.TRUE
    assert accepted.start is not None
    waits(decide(after(a_run(**spec), accepted)), ConditionType.PREPARED, Reason.NOT_ALLOWED, *words)


def test_gpus_are_asked_for_by_parallelism_alone_whatever_this_cluster_calls_them() -> None:
    run = a_run(resources={"prepare": {"limits": {"amd.com/gpu": 1}}})
    assert decide(run).start is not None
    settings = Settings(trainer_image="trainer", defaults={"gpuResource": "amd.com/gpu"})
    waits(decide(run, settings=settings), ConditionType.ACCEPTED, Reason.NOT_ALLOWED, "spec.resources", "amd.com/gpu", "parallelism.gpusPerNode")
    named = a_run(resources={"prepare": {"limits": {"amd.com/gpu": 1}}, "gpuResource": "nvidia.com/gpu"})
    assert decide(named, settings=settings).start is not None


def test_the_operators_own_image_is_always_allowed() -> None:
    assert decide(a_run(pods={"image": SETTINGS.trainer_image})).start is not None


@pytest.mark.parametrize(
    ("spec", "claim", "reason", "words"),
    [
        ({}, Claim(MODELS, "models", None), Reason.CLAIM_MISSING, [MODELS, "models", "none of that name", "Create the claim"]),
        ({}, Claim(OUTPUT, "results", "Lost"), Reason.CLAIM_LOST, [OUTPUT, "results", "Lost", "Restore"]),
        (TEMPLATE, Claim(MODELS, "models", None), Reason.CLAIM_MISSING, [MODELS]),
        (
            GANG,
            Claim(OUTPUT, "results", "Bound", ("ReadWriteOnce", "ReadOnlyMany")),
            Reason.VOLUME_NOT_SHARED,
            [OUTPUT, "ReadWriteMany", "ReadWriteOnce", "nodes: 1"],
        ),
        (GANG, Claim(MODELS, "models", "Bound", ("ReadWriteOnce",)), Reason.VOLUME_NOT_SHARED, [MODELS, "ReadWriteMany or ReadOnlyMany"]),
        (GANG, Claim(MODELS, "models", "Pending", ()), Reason.VOLUME_NOT_SHARED, ["access modes none"]),
    ],
)
def test_a_volume_that_cannot_serve_is_said_before_any_stage(spec: dict[str, Any], claim: Claim, reason: Reason, words: list[str]) -> None:
    decision = decide(a_run(**spec), claims=(claim,))
    waits(decision, ConditionType.PREPARED, reason, *words)
    assert decision.status.attempts == ()
    assert decision.again is not None
    assert [note.reason for note in decision.notes] == [reason]
    assert decide(after(a_run(**spec), decision)).start is not None, "it is not final"


@pytest.mark.parametrize(
    ("spec", "claim"),
    [
        (TEMPLATE, Claim(OUTPUT, "run-0b5e3b9c", None)),
        ({}, Claim(OUTPUT, "results", "Pending", ("ReadWriteOnce",))),
        (GANG, Claim(OUTPUT, "results", "Bound", ("ReadWriteMany",))),
        (GANG, Claim(MODELS, "models", "Bound", ("ReadOnlyMany",))),
    ],
)
def test_a_volume_that_can_serve_is_no_obstacle(spec: dict[str, Any], claim: Claim) -> None:
    assert decide(a_run(**spec), claims=(claim,)).start is not None


@pytest.mark.parametrize(
    ("seen", "reason", "words"),
    [
        ([a_job(Stage.TRAIN)], Reason.STARTING, ["run-train-a1"]),
        ([a_job(Stage.TRAIN, suspended=True, started=None)], Reason.QUEUED, ["Kueue"]),
        ([a_job(Stage.TRAIN, trouble=Reason.QUOTA_EXCEEDED)], Reason.QUOTA_EXCEEDED, ["ResourceQuota", "Free quota"]),
        ([a_job(Stage.TRAIN, trouble=Reason.ADMISSION_REFUSED)], Reason.ADMISSION_REFUSED, ["administrator"]),
        ([a_job(Stage.TRAIN), a_pod(Stage.TRAIN, phase=PodPhase.PENDING, trouble=Reason.IMAGE_PULL_FAILED)], Reason.IMAGE_PULL_FAILED, ["imagePullSecrets"]),
        ([a_job(Stage.TRAIN), a_pod(Stage.TRAIN, phase=PodPhase.PENDING, trouble=Reason.UNSCHEDULABLE)], Reason.UNSCHEDULABLE, ["Free room"]),
        ([a_job(Stage.TRAIN), a_pod(Stage.TRAIN)], Reason.RUNNING, ["run-train-a1"]),
        ([a_job(Stage.TRAIN, deleting=True), a_pod(Stage.TRAIN)], Reason.STOPPING, ["not by the operator"]),
        ([a_job(Stage.TRAIN, owned=False)], Reason.NAME_TAKEN, ["run-train-a1", "belongs to another"]),
        ([a_job(Stage.EVALUATE)], Reason.STOPPING, ["run-evaluate-a1"]),
        ([a_pod(Stage.PREPARE)], Reason.STOPPING, ["run-prepare-a1-0"]),
    ],
)
def test_an_attempt_says_how_it_is(seen: list[Job | Pod], reason: Reason, words: list[str]) -> None:
    decision = decide(reached(Stage.TRAIN), *seen)
    waits(decision, ConditionType.TRAINED, reason, *words)
    assert any(note.reason is reason for note in decision.notes) == (reason not in (Reason.STARTING, Reason.QUEUED, Reason.RUNNING, Reason.STOPPING))


@pytest.mark.parametrize("reason", [Reason.QUOTA_EXCEEDED, Reason.ADMISSION_REFUSED, Reason.OBJECT_INVALID, Reason.NAME_TAKEN])
def test_a_refused_creation_is_said_and_tried_again(reason: Reason) -> None:
    refusal = Refusal(reason, ("spec.template",))
    run = reached(Stage.TRAIN)
    decision = decide(run, refusal=refusal)
    assert condition(decision, ConditionType.TRAINED).reason is reason
    assert decision.start == attempt(decision)
    assert decide(after(run, decision), refusal=refusal).notes == (), "an event once"


def test_a_lost_node_is_named_with_both_remedies_and_nothing_is_forced() -> None:
    run = reached(Stage.TRAIN)
    lost = a_pod(Stage.TRAIN, disrupted=True, deletion=NOW)
    seen = (a_job(Stage.TRAIN), lost)
    run = after(run, decide(run, *seen))
    assert decide(run, *seen, now=later(299)).again == 1.0
    decision = decide(run, *seen, now=later(300))
    waits(decision, ConditionType.TRAINED, Reason.NODE_LOST, "node-0", "node.kubernetes.io/out-of-service", "delete its Node object")
    assert decision.stop == ()
    assert [(note.reason, note.warning) for note in decision.notes] == [(Reason.NODE_LOST, True)]
    vanished = decide(after(run, decision), a_job(Stage.TRAIN, failed=True), now=later(400))
    assert (attempt(vanished).reason, attempt(vanished).node, attempt(vanished).charged) == (Reason.DISRUPTED, "node-0", False)


def test_a_pod_that_has_ended_is_not_lost_and_one_that_is_lost_outlives_its_job() -> None:
    run = reached(Stage.TRAIN)
    seen = (a_job(Stage.TRAIN, pods_wanted=2), a_pod(Stage.TRAIN), a_pod(Stage.TRAIN, index=1, phase=PodPhase.SUCCEEDED, deletion=NOW))
    assert condition(decide(run, *seen, now=later(301)), ConditionType.TRAINED).reason is Reason.RUNNING
    run = after(run, decide(run, *seen))
    cancelled = a_run(run.status, generation=2, runPolicy={"cancel": True})
    decision = decide(cancelled, a_pod(Stage.TRAIN, deletion=NOW), now=later(301))
    assert (attempt(decision).end_time, condition(decision, ConditionType.TRAINED).reason) == (None, Reason.NODE_LOST)


def test_a_ghost_of_another_attempt_holds_the_next_one_back() -> None:
    run = reached(Stage.TRAIN)
    ghost = a_pod(Stage.PREPARE, 7, deletion=NOW)
    assert decide(run, ghost).start is None
    waits(decide(run, ghost, now=later(300)), ConditionType.TRAINED, Reason.NODE_LOST)
    assert decide(run, replace(ghost, phase=PodPhase.FAILED), now=later(300)).start is not None
    assert decide(a_run(), ghost).status.attempts == (), "not even decided"
    assert decide(run, now=later(300)).start is not None, "a pod that is gone has ended"


def test_a_claim_that_vanishes_with_the_runs_folder_is_not_made_anew() -> None:
    run = reached(Stage.TRAIN, output={"volume": {"claimTemplate": {"storage": "10Gi"}, "persistentVolumeClaim": None}})
    run = after(run, decide(run, a_job(Stage.TRAIN, failed=True), a_pod(Stage.TRAIN, phase=PodPhase.FAILED, exit_code=1)))
    decision = decide(run, claims=(Claim("spec.output.volume", "results", None),), children=frozenset(), now=later(9999))
    assert (condition(decision, ConditionType.TRAINED).reason, decision.make, decision.start) == (Reason.CLAIM_LOST, (), None)


def test_what_changes_nothing_writes_nothing() -> None:
    run = reached(Stage.TRAIN)
    for seen in ([], [a_job(Stage.TRAIN)], list(running(Stage.TRAIN))):
        run = after(run, decide(run, *seen))
        assert decide(run, *seen, now=later(100)).status == run.status
