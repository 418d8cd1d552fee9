"""The output claim made from a run's template. No owner reference: results outlive the run, and nobody but a person deletes them."""

from __future__ import annotations

from typing import Any

from medfinetune_operator.resources.metadata import unowned
from medfinetune_operator.run import Run


def claim(run: Run) -> dict[str, Any]:
    """The PersistentVolumeClaim of a run whose spec has a template."""
    assert run.spec is not None
    template = run.spec.output.volume.claim_template
    assert template is not None
    named_class = {"storageClassName": template.storage_class_name} if template.storage_class_name else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": unowned(run, run.claim),
        "spec": {"accessModes": [str(mode) for mode in template.access_modes], "resources": {"requests": {"storage": template.storage}}} | named_class,
    }
