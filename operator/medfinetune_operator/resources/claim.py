"""The output claim made from a run's template. No owner reference: results outlive the run, and nobody but a person deletes them."""

from __future__ import annotations

from typing import Any

from medfinetune_operator.resources.metadata import unowned
from medfinetune_operator.run import Run
from medfinetune_operator.settings import Settings


def claim(run: Run, settings: Settings) -> dict[str, Any]:
    """The PersistentVolumeClaim of a run whose spec has a template; a class that nobody names is the cluster's to choose."""
    assert run.spec is not None
    template = run.spec.output.volume.claim_template
    assert template is not None
    storage_class = template.storage_class_name or settings.defaults.storage_class_name
    named_class = {"storageClassName": storage_class} if storage_class else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": unowned(run, run.claim),
        "spec": {"accessModes": [str(mode) for mode in template.access_modes], "resources": {"requests": {"storage": template.storage}}} | named_class,
    }
