"""The volumes of a pod and where the container sees them. Nothing but the plan, claims and scratch space: no token, no path of
the node, and no Secret but the key that signs lineages, where the administrator has named one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medfinetune_api.choices import WORK, Stage
from medfinetune_api.objects import DATA_FOLDER, MODELS_FOLDER, OUTPUT_FOLDER, PLAN_FOLDER, SIGNING_FOLDER

from medfinetune_operator.resources.stages import COMPUTING, reads_base, signs
from medfinetune_operator.run import Run


@dataclass(frozen=True)
class _Role:
    """One of the run's three places for files."""

    name: str
    claim: str
    folder: str
    read_only: bool


def volumes(run: Run, stage: Stage, secret: str = "") -> list[dict[str, Any]]:
    """The pod's volumes: one a claim, whatever roles it has. One that is only read is read-only as a whole: fsGroup must not change who owns its files."""
    roles = _roles(run, stage)
    claims = {name: [role for role in roles if role.claim == name] for name in dict.fromkeys(role.claim for role in roles)}
    return [
        {"name": "plan", "configMap": {"name": run.identity.folder}},
        *(_claim(name, sharing) for name, sharing in claims.items()),
        {"name": "tmp", "emptyDir": {}},
        *_shared_memory(run, stage),
        *([{"name": "signing", "secret": {"secretName": secret, "defaultMode": 0o440}}] if signs(stage, secret) else []),
    ]


def mounts(run: Run, stage: Stage, secret: str = "") -> list[dict[str, Any]]:
    """The container's mounts of `volumes`."""
    roles = _roles(run, stage)
    first = {role.claim: role.name for role in reversed(roles)}
    return [
        {"name": "plan", "mountPath": PLAN_FOLDER, "readOnly": True},
        *({"name": first[role.claim], "mountPath": role.folder, "readOnly": role.read_only} for role in roles),
        {"name": "tmp", "mountPath": "/tmp"},
        *({"name": each["name"], "mountPath": "/dev/shm"} for each in _shared_memory(run, stage)),
        *([{"name": "signing", "mountPath": SIGNING_FOLDER, "readOnly": True}] if signs(stage, secret) else []),
    ]


def _roles(run: Run, stage: Stage) -> list[_Role]:
    assert run.spec is not None
    output = _Role("output", run.claim, OUTPUT_FOLDER, False)
    models, data = run.spec.model.volume.persistent_volume_claim, run.spec.data.volume.persistent_volume_claim
    base = [_Role("models", models.claim_name, MODELS_FOLDER, True)] if reads_base(run, stage) else []
    records = [_Role("data", data.claim_name, DATA_FOLDER, True)] if stage in WORK else []
    return [*base, *records, output]


def _claim(name: str, roles: list[_Role]) -> dict[str, Any]:
    read_only = all(role.read_only for role in roles)
    return {"name": roles[0].name, "persistentVolumeClaim": {"claimName": name, "readOnly": read_only}}


def _shared_memory(run: Run, stage: Stage) -> list[dict[str, Any]]:
    """The ranks of a node exchange tensors through it; a container's own /dev/shm has 64 MiB."""
    assert run.spec is not None
    memory = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": run.spec.resources.shared_memory}}
    return [memory] if stage in COMPUTING else []
