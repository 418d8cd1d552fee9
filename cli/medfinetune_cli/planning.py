"""From a manifest file to the plan of a run on this machine."""

from __future__ import annotations

from pathlib import Path

from medfinetune_api.identity import local_identity
from medfinetune_api.manifest import load_manifest
from medfinetune_api.plan import Mounts, RunPlan
from medfinetune_api.resolve import resolve


def planned(manifest: Path, models: Path, data: Path, output: Path) -> RunPlan:
    """The plan of `manifest` with its three volumes mapped to folders. Reads the manifest and nothing else.

    Raises InvalidManifest, or ManifestErrors with every problem.
    """
    parsed = load_manifest(manifest)
    mounts = Mounts(models=str(models.resolve()), data=str(data.resolve()), output=str(output.resolve()))
    return resolve(parsed.spec, local_identity(parsed), mounts)
