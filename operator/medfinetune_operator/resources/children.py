"""What a run has besides its Jobs, by kind.

The plan and the claim are create-only; Service and NetworkPolicy are applied, and carry the hash of what was applied.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from medfinetune_api.objects import DOMAIN

from medfinetune_operator.observation import Child
from medfinetune_operator.resources.claim import claim
from medfinetune_operator.resources.plan import plan
from medfinetune_operator.resources.policy import policy
from medfinetune_operator.resources.service import service
from medfinetune_operator.run import Run
from medfinetune_operator.settings import Settings

APPLIED = f"{DOMAIN}/applied"
"""Annotation of Service and NetworkPolicy: `applied` of their manifest. One that differs was applied by another version, or under other settings."""


def child(kind: Child, run: Run, settings: Settings) -> dict[str, Any]:
    """The object of `kind` as it should be. The plan needs a run that resolves, the claim a spec with a template."""
    match kind:
        case Child.PLAN:
            return plan(run)
        case Child.CLAIM:
            return claim(run, settings)
        case Child.SERVICE:
            return _stamped(service(run))
        case Child.POLICY:
            return _stamped(policy(run, settings))


def applied(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest as it is applied, its own stamp left out."""
    meta = {name: value for name, value in manifest["metadata"].items() if name != "annotations"}
    return hashlib.sha256(json.dumps({**manifest, "metadata": meta}, sort_keys=True).encode()).hexdigest()


def _stamped(manifest: dict[str, Any]) -> dict[str, Any]:
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": {APPLIED: applied(manifest)}}}
