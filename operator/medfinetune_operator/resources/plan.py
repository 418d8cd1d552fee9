"""The RunPlan as an immutable ConfigMap: what every pod of the run reads, whatever becomes of the object or the operator."""

from __future__ import annotations

from typing import Any

from medfinetune_api.objects import PLAN_FILE
from medfinetune_api.plan import RunPlan

from medfinetune_operator.resources.metadata import metadata
from medfinetune_operator.run import Run


def plan(run: Run) -> dict[str, Any]:
    """The ConfigMap of a run that resolves."""
    assert isinstance(run.plan, RunPlan)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(run, run.identity.folder),
        "immutable": True,
        "data": {PLAN_FILE: run.plan.to_json()},
    }
