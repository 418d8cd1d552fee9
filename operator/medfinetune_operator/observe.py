"""Observe: Kubernetes' objects as typed observations. Pure, and never surprised: what cannot be read is left out, or said to be absent."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason
from medfinetune_api.objects import ATTEMPT_LABEL, CONTAINER, INDEX_LABEL, STAGE_LABEL, UID_LABEL
from medfinetune_api.results import StageResult
from pydantic import ValidationError

from medfinetune_operator.cache import Json
from medfinetune_operator.observation import Claim, Job, Pod, PodPhase
from medfinetune_operator.run import Run

IMAGE_TROUBLES = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable"})
"""The kubelet's words for an image that it does not get."""
CONTAINER_TROUBLES = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
"""Its words for a container that it cannot start."""


def jobs_of(run: Run, bodies: Iterable[Json]) -> tuple[Job, ...]:
    """The run's Jobs, and those of another run that stand under its name (`owned` is False), oldest first."""
    found = [job for body in bodies if (job := job_of(body, run.identity.uid))]
    return tuple(sorted(found, key=lambda job: (job.created, job.name)))


def pods_of(run: Run, bodies: Iterable[Json]) -> tuple[Pod, ...]:
    """The run's pods."""
    return tuple(pod for body in bodies if _at(body, "metadata", "labels", UID_LABEL) == run.identity.uid and (pod := pod_of(body)))


def claims_of(run: Run, bodies: dict[str, Json | None]) -> tuple[Claim, ...]:
    """The claims that the spec names, by what is at their names."""
    return tuple(claim_of(field, name, bodies.get(name)) for field, name in claim_names(run).items())


def claim_names(run: Run) -> dict[str, str]:
    """Names of the run's claims, the one made for it included, by field of the spec."""
    if run.spec is None:
        return {}
    model, data = run.spec.model.volume.persistent_volume_claim.claim_name, run.spec.data.volume.persistent_volume_claim.claim_name
    return {"spec.model.volume": model, "spec.data.volume": data, "spec.output.volume": run.claim}


def claim_of(field: str, name: str, body: Json | None) -> Claim:
    """One claim; `phase` is None where `body` is."""
    if body is None:
        return Claim(field, name, None)
    modes = tuple(str(mode) for mode in _items(body, "spec", "accessModes"))
    return Claim(field, name, _text(body, "status", "phase") or "Pending", modes)


def job_of(body: Json, run_uid: str) -> Job | None:
    """One Job; None where its labels do not say which attempt it is."""
    attempt, created = _attempt(body), _time(body, "metadata", "creationTimestamp")
    if attempt is None or created is None:
        return None
    wanted = _at(body, "spec", "completions")
    return Job(
        name=_text(body, "metadata", "name"),
        uid=_text(body, "metadata", "uid"),
        stage=attempt[0],
        number=attempt[1],
        pods_wanted=wanted if isinstance(wanted, int) else 1,
        created=created,
        started=_time(body, "status", "startTime"),
        suspended=_at(body, "spec", "suspend") is True,
        deleting=_at(body, "metadata", "deletionTimestamp") is not None,
        complete=_condition(body, "Complete") is not None,
        failed=_condition(body, "Failed") is not None,
        owned=any(_at(owner, "uid") == run_uid for owner in _items(body, "metadata", "ownerReferences")),
    )


def pod_of(body: Json) -> Pod | None:
    """One pod; None where its labels do not say which attempt it belongs to."""
    attempt = _attempt(body)
    if attempt is None:
        return None
    ended = _container_state(body, "terminated")
    code = ended.get("exitCode")
    return Pod(
        name=_text(body, "metadata", "name"),
        uid=_text(body, "metadata", "uid"),
        stage=attempt[0],
        attempt=attempt[1],
        index=_number(_at(body, "metadata", "labels", INDEX_LABEL)) or 0,
        phase=_phase(body),
        node=_text(body, "spec", "nodeName") or None,
        address=_text(body, "status", "podIP") or None,
        exit_code=code if isinstance(code, int) and 0 <= code <= 255 else None,
        oom_killed=ended.get("reason") == "OOMKilled",
        disrupted=_condition(body, "DisruptionTarget") is not None,
        result=_result(ended),
        deletion=_time(body, "metadata", "deletionTimestamp"),
        trouble=_trouble(body),
    )


def _attempt(body: Json) -> tuple[Stage, int] | None:
    stage, number = _at(body, "metadata", "labels", STAGE_LABEL), _number(_at(body, "metadata", "labels", ATTEMPT_LABEL))
    return (Stage(stage), number) if stage in tuple(Stage) and number else None


def _phase(body: Json) -> PodPhase:
    phase = _text(body, "status", "phase")
    return PodPhase(phase) if phase in tuple(PodPhase) else PodPhase.UNKNOWN


def _result(ended: Json) -> StageResult | None:
    try:
        return StageResult.model_validate_json(ended.get("message") or "")
    except ValidationError:
        return None


def _trouble(body: Json) -> ConditionReason | None:
    match _container_state(body, "waiting").get("reason"):
        case str(waits) if waits in IMAGE_TROUBLES:
            return ConditionReason.IMAGE_PULL_FAILED
        case str(waits) if waits in CONTAINER_TROUBLES:
            return ConditionReason.CONTAINER_FAILED
    placed = _condition(body, "PodScheduled", status="False")
    return ConditionReason.UNSCHEDULABLE if placed is not None and placed.get("reason") == "Unschedulable" else None


def _container_state(body: Json, state: str) -> Json:
    """How the trainer's container is `state`; empty where it is not."""
    for container in _items(body, "status", "containerStatuses"):
        if _at(container, "name") == CONTAINER:
            found = _at(container, "state", state)
            return found if isinstance(found, dict) else {}
    return {}


def _condition(body: Json, kind: str, status: str = "True") -> Json | None:
    return next((each for each in _items(body, "status", "conditions") if (_at(each, "type"), _at(each, "status")) == (kind, status)), None)


def _at(body: Any, *path: str) -> Any:
    for step in path:
        body = body.get(step) if isinstance(body, dict) else None
    return body


def _items(body: Any, *path: str) -> list[Any]:
    found = _at(body, *path)
    return found if isinstance(found, list) else []


def _text(body: Any, *path: str) -> str:
    found = _at(body, *path)
    return found if isinstance(found, str) else ""


def _number(text: Any) -> int | None:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() else None


def _time(body: Any, *path: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(_text(body, *path))
    except ValueError:
        return None
    return found if found.tzinfo else None
