"""Manifests and plans for tests: the smallest valid manifest, and the plan the product itself resolves from one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from medfinetune_api.identity import local_identity
from medfinetune_api.manifest import parse_manifest
from medfinetune_api.plan import Mounts, RunPlan
from medfinetune_api.presets import merged
from medfinetune_api.resolve import resolve


def claim(name: str) -> dict[str, Any]:
    """A volume by its claim."""
    return {"persistentVolumeClaim": {"claimName": name}}


MINIMAL: dict[str, Any] = {
    "apiVersion": "medfinetune.io/v1alpha1",
    "kind": "MedFineTune",
    "metadata": {"name": "run"},
    "spec": {
        "model": {"path": "base", "volume": claim("models")},
        "data": {
            "volume": claim("datasets"),
            "sources": [{"name": "medqa", "path": "medqa.jsonl", "format": "MedQA", "language": "en"}],
        },
        "output": {"volume": claim("results")},
    },
}


def minimal_manifest(**overrides: Any) -> dict[str, Any]:
    """The smallest manifest, with parts of its spec laid over it map by map: `minimal_manifest(data={"maxLength": 64})`. Lists are replaced."""
    return copy.deepcopy({**MINIMAL, "spec": merged(overrides, MINIMAL["spec"])})


def plan_for(manifest: dict[str, Any], models: Path, data: Path, output: Path, name: str = "run") -> RunPlan:
    """The plan of `manifest` under `name`, with its three volumes in local folders."""
    parsed = parse_manifest({**manifest, "metadata": {**manifest["metadata"], "name": name}})
    return resolve(parsed.spec, local_identity(parsed), Mounts(models=str(models), data=str(data), output=str(output)))
