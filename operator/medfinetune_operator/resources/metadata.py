"""What every object of a run carries: its labels, and the run as its owner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medfinetune_api.objects import ATTEMPT_LABEL, RUN_LABEL, STAGE_LABEL, UID_LABEL
from medfinetune_api.spec import API_VERSION, KIND
from medfinetune_api.status import Attempt

from medfinetune_operator.run import Run


def metadata(run: Run, name: str, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Metadata of an object that goes with the run."""
    return unowned(run, name, labels) | {"ownerReferences": [_owner(run)]}


def unowned(run: Run, name: str, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Metadata of an object that outlives the run."""
    return {"name": name, "namespace": run.namespace, "labels": run_labels(run) | dict(labels or {})}


def run_labels(run: Run) -> dict[str, str]:
    """Labels of everything of the run."""
    return {RUN_LABEL: run.name, UID_LABEL: run.identity.uid}


def attempt_labels(attempt: Attempt) -> dict[str, str]:
    """Labels of what belongs to one attempt: its Job, its pods."""
    return {STAGE_LABEL: attempt.stage.value, ATTEMPT_LABEL: str(attempt.number)}


def _owner(run: Run) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": run.name,
        "uid": run.identity.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
