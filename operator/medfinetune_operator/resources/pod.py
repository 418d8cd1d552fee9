"""The pod template of an attempt: what the `restricted` pod-security level admits, where the spec lets it run, one container that is the stage."""

from __future__ import annotations

from math import ceil
from typing import Any

from medfinetune_api.choices import Stage
from medfinetune_api.objects import CONTAINER, METRICS_PORT, METRICS_PORT_NAME, PLAN_FILE, PLAN_FOLDER
from medfinetune_api.status import Attempt

from medfinetune_operator.resources.environment import environment
from medfinetune_operator.resources.metadata import attempt_labels, run_labels
from medfinetune_operator.resources.stages import resources_of
from medfinetune_operator.resources.volumes import mounts, volumes
from medfinetune_operator.run import Run
from medfinetune_operator.settings import Settings

GRACE_SECONDS = 30
"""What a pod may take to end beyond the time that its stage has for a checkpoint."""
TERMINATION_LOG = "/dev/termination-log"


def pod_template(run: Run, attempt: Attempt, settings: Settings) -> dict[str, Any]:
    """The Job's `spec.template`. The user's labels cannot displace ours."""
    assert run.spec is not None
    labels = dict(run.spec.pods.labels or {}) | run_labels(run) | attempt_labels(attempt)
    annotations = {"annotations": dict(run.spec.pods.annotations)} if run.spec.pods.annotations else {}
    return {"metadata": {"labels": labels} | annotations, "spec": _pod(run, attempt, settings)}


def _pod(run: Run, attempt: Attempt, settings: Settings) -> dict[str, Any]:
    return {
        "restartPolicy": "Never",
        "subdomain": run.identity.folder,
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": ceil(settings.stop_seconds) + GRACE_SECONDS,
        "securityContext": _pod_security(settings),
        "volumes": volumes(run, attempt.stage, settings.signing_secret),
        "containers": [_container(run, attempt, settings)],
        **_placement(run),
    }


def _container(run: Run, attempt: Attempt, settings: Settings) -> dict[str, Any]:
    assert run.spec is not None
    return {
        "name": CONTAINER,
        "image": run.spec.pods.image or settings.trainer_image,
        "imagePullPolicy": settings.image_pull_policy,
        "args": _arguments(attempt.stage),
        "env": environment(run, attempt, settings),
        "ports": [{"name": METRICS_PORT_NAME, "containerPort": METRICS_PORT, "protocol": "TCP"}],
        "resources": resources_of(run, attempt.stage, settings.defaults),
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "File",
        "volumeMounts": mounts(run, attempt.stage, settings.signing_secret),
    }


def _arguments(stage: Stage) -> list[str]:
    """Of the image's entrypoint, which is the stage program below an init: as process 1, Python would lose a SIGTERM that comes early."""
    return [stage.value, "--plan", f"{PLAN_FOLDER}/{PLAN_FILE}", "--termination-log", TERMINATION_LOG]


def _pod_security(settings: Settings) -> dict[str, Any]:
    """The platform's ids, and what is not the platform's to choose. OnRootMismatch: a recursive chown of a volume of checkpoints takes minutes a start."""
    ids = {name: value for name, value in settings.pod_security.items() if value is not None}
    return ids | {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, "fsGroupChangePolicy": "OnRootMismatch"}


def _placement(run: Run) -> dict[str, Any]:
    """What the spec says about nodes, priority, runtime and pull secrets, in Kubernetes' own words; what it leaves out stays out."""
    assert run.spec is not None
    scheduling = run.spec.scheduling.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"queue_name"})
    secrets = [{"name": each.name} for each in run.spec.pods.image_pull_secrets]
    return {name: value for name, value in {**scheduling, "imagePullSecrets": secrets}.items() if value}
