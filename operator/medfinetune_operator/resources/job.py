"""The Job of an attempt: Indexed, one pod a node of the gang, never restarted by Kubernetes. A retry is another attempt, and another Job.

Create-only: its pod template cannot be changed, so a newer operator leaves the Jobs of an older one as they are.
"""

from __future__ import annotations

from typing import Any

from medfinetune_api.exits import Exit
from medfinetune_api.objects import CONTAINER, QUEUE_LABEL, job_name
from medfinetune_api.status import Attempt

from medfinetune_operator.resources.metadata import attempt_labels, metadata
from medfinetune_operator.resources.pod import pod_template
from medfinetune_operator.run import Run
from medfinetune_operator.settings import Settings


def job(run: Run, attempt: Attempt, settings: Settings) -> dict[str, Any]:
    """The batch/v1 Job of `attempt`. With a queue it is created suspended, and Kueue alone lets it run."""
    assert run.spec is not None
    queue = run.spec.scheduling.queue_name or settings.defaults.queue_name
    labels = attempt_labels(attempt) | ({QUEUE_LABEL: queue} if queue else {})
    pods = run.pods_of(attempt.stage)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(run, job_name(run.name, attempt.stage, attempt.number), labels),
        "spec": {
            "completionMode": "Indexed",
            "completions": pods,
            "parallelism": pods,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _failure_rules()},
            "suspend": bool(queue),
            "template": pod_template(run, attempt, settings),
        },
    }


def _failure_rules() -> list[dict[str, Any]]:
    """First match wins. A stage that stopped in good order must not fail its Job: a Job suspended by Kueue would end as Failed instead of waiting."""
    return [
        {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "Ignore", "onExitCodes": _exit_codes("In")},
        {"action": "FailJob", "onExitCodes": _exit_codes("NotIn")},
    ]


def _exit_codes(operator: str) -> dict[str, Any]:
    """Of a container that failed: Kubernetes never asks about exit code 0."""
    return {"containerName": CONTAINER, "operator": operator, "values": [Exit.INTERRUPTED.value]}
