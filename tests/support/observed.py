"""Runs, Jobs and pods as reconcile sees them, for tests: made as the operator's own reader makes them, with what a test does not care about filled in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionType
from medfinetune_api.objects import job_name
from medfinetune_api.results import StageResult
from medfinetune_api.status import Attempt, Condition, FineTuneStatus
from medfinetune_operator.decision import Decision
from medfinetune_operator.observation import Child, Job, Observation, Pod, PodPhase
from medfinetune_operator.reconcile import reconcile
from medfinetune_operator.run import Run, read_run
from medfinetune_operator.settings import Settings
from support.manifests import minimal_manifest

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTINGS = Settings(trainer_image="trainer")
UID = "0b5e3b9c-7d4a-4c1e-9f55-2f6a1d3c8e70"
CHILDREN = frozenset({Child.PLAN, Child.POLICY, Child.SERVICE, Child.CLAIM})


def later(seconds: float) -> datetime:
    """So many seconds after NOW."""
    return NOW + timedelta(seconds=seconds)


def a_run(status: FineTuneStatus | None = None, generation: int = 1, deleting: bool = False, **spec: Any) -> Run:
    """The run of the smallest manifest with parts of its spec laid over it, as it is read back from the API server."""
    meta = {"name": "run", "namespace": "ward", "uid": UID, "generation": generation, "resourceVersion": "1", "creationTimestamp": "2026-03-01T11:00:00Z"}
    if deleting:
        meta["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    stored = (status or FineTuneStatus()).model_dump(mode="json", by_alias=True, exclude_none=True)
    return read_run({"metadata": meta, "spec": minimal_manifest(**spec)["spec"], "status": stored})


def a_job(stage: Stage, number: int = 1, **fields: Any) -> Job:
    """A live Job of one pod, created and begun at NOW."""
    name = job_name("run", stage, number)
    return replace(Job(name=name, uid=f"uid-{name}", stage=stage, number=number, pods_wanted=1, created=NOW, started=NOW), **fields)


def a_pod(stage: Stage, number: int = 1, index: int = 0, phase: PodPhase = PodPhase.RUNNING, **fields: Any) -> Pod:
    """A running pod."""
    name = f"{job_name('run', stage, number)}-{index}"
    return replace(Pod(name=name, uid=f"uid-{name}", stage=stage, attempt=number, index=index, phase=phase, node=f"node-{index}"), **fields)


def failed(stage: Stage, code: int | None, number: int = 1, index: int = 0, **fields: Any) -> Pod:
    """A pod that failed with an exit code."""
    return a_pod(stage, number, index, PodPhase.FAILED, exit_code=code, **fields)


def said(stage: Stage, code: int = 0, **numbers: float) -> StageResult:
    """A termination message, with words in it that must go nowhere."""
    return StageResult(stage=stage, exit_code=code, reason="Succeeded", message="PATIENT TEXT", numbers=numbers)


def decide(run: Run, *seen: Job | Pod, now: datetime = NOW, settings: Settings = SETTINGS, **fields: Any) -> Decision:
    """Reconcile a run of which Jobs and pods are seen, all children standing; what was decided must stand when it is looked at again."""
    jobs, pods = tuple(each for each in seen if isinstance(each, Job)), tuple(each for each in seen if isinstance(each, Pod))
    observation = Observation(jobs=jobs, pods=pods, **{"children": CHILDREN, **fields})
    decision = reconcile(run, observation, now, settings)
    assert settled(run, decision, observation, now, settings), "deciding again on what was stored changes something"
    assert "PATIENT" not in decision.status.to_json() + str(decision.notes), "a pod's own words reached status or events"
    return decision


def settled(run: Run, decision: Decision, seen: Observation, now: datetime, settings: Settings) -> bool:
    """Whether deciding again, on what was stored and with the same in sight, changes nothing and asks for the same."""
    stored = replace(run, status=FineTuneStatus.model_validate_json(decision.status.to_json()))
    return reconcile(stored, seen, now, settings) == replace(decision, notes=())


def after(run: Run, decision: Decision) -> Run:
    """The run once the decision is stored."""
    return replace(run, status=decision.status)


def condition(decision: Decision, kind: ConditionType) -> Condition:
    """A condition of the decision's status."""
    return next(each for each in decision.status.conditions if each.type is kind)


def attempt(decision: Decision, place: int = -1) -> Attempt:
    """An attempt of the decision's status, the last one unless told."""
    return decision.status.attempts[place]


def done(stage: Stage, number: int = 1, **numbers: float) -> tuple[Job, Pod]:
    """A complete Job and its pod."""
    facts = {"micro_batch": 8.0, "total_steps": 100.0, "evaluate_on_gang": 0.0} if stage is Stage.PREPARE else {}
    return a_job(stage, number, complete=True), a_pod(stage, number, phase=PodPhase.SUCCEEDED, exit_code=0, result=said(stage, **(facts | numbers)))


def reached(stage: Stage, now: datetime = NOW, **spec: Any) -> Run:
    """A run whose first attempt of `stage` has just been decided, everything before it having gone well."""
    run = a_run(**spec)
    run = after(run, decide(run, now=now))
    for before in tuple(Stage)[: tuple(Stage).index(stage)]:
        run = after(run, decide(run, *done(before), now=now))
    return run


def running(stage: Stage, pods: int = 1, now: datetime = NOW, number: int = 1) -> tuple[Job | Pod, ...]:
    """A Job all of whose pods run."""
    return a_job(stage, number, pods_wanted=pods, created=now, started=now), *(a_pod(stage, number, index) for index in range(pods))
