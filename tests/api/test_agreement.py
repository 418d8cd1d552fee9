"""`medfinetune validate` and the API server's schema refuse and admit the same manifests, whatever is in them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from medfinetune_api.manifest import ManifestErrors, parse_manifest
from support.admission import refusals
from support.manifest_strategies import damaged_manifests, manifests


def problems(manifest: dict[str, Any]) -> list[str]:
    try:
        parse_manifest(manifest)
    except ManifestErrors as errors:
        return [str(problem) for problem in errors.problems]
    return []


@settings(max_examples=100, deadline=None)
@given(manifests())
def test_valid_manifests_pass_both(manifest: dict[str, Any]) -> None:
    assert problems(manifest) == []
    assert refusals(manifest) == []


@settings(max_examples=300, deadline=None)
@given(damaged_manifests())
def test_damaged_manifests_fare_alike(manifest: dict[str, Any]) -> None:
    python, server = problems(manifest), refusals(manifest)
    assert bool(python) == bool(server), f"python: {python}\nserver: {server}"
