"""What submitting a manifest comes to: the run is created, is there already, gets another runPolicy, or is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from medfinetune_api.errors import InvalidManifest
from medfinetune_api.identity import local_identity
from medfinetune_api.immutable import MUTABLE
from medfinetune_api.manifest import load_manifest
from medfinetune_api.objects import DATA_FOLDER, MODELS_FOLDER, OUTPUT_FOLDER, REQUESTER_ANNOTATION
from medfinetune_api.plan import Identity, Mounts
from medfinetune_api.resolve import resolve
from medfinetune_api.spec import FineTuneSpec, MedFineTune
from pydantic import ValidationError

from medfinetune_cli.cluster_client import Cluster, Object
from medfinetune_cli.cluster_errors import ClusterRefusal, Conflict, Unauthenticated, Unreachable
from medfinetune_cli.output import UsageRefusal, say


class Action(StrEnum):
    """What became of a submission."""

    CREATED = "created"
    UNCHANGED = "unchanged"
    CHANGED = "changed"


@dataclass(frozen=True)
class Submission:
    """A valid manifest on its way to a cluster; `namespace` is what it or the command line says, None where neither does."""

    manifest: MedFineTune
    namespace: str | None

    @property
    def requester(self) -> str:
        """Who asks for the run, where the manifest itself says it."""
        return (self.manifest.metadata.annotations or {}).get(REQUESTER_ANNOTATION, "")

    def body(self, requester: str) -> Object:
        """The object as its owner wrote it: what a manifest leaves out is left out, so that the API server decides its defaults. And who asks."""
        body: Object = json.loads(self.manifest.model_dump_json(by_alias=True, exclude_unset=True))
        body["metadata"].pop("namespace", None)
        if requester:
            body["metadata"]["annotations"] = (body["metadata"].get("annotations") or {}) | {REQUESTER_ANNOTATION: requester}
        return body


@dataclass(frozen=True)
class Submitted:
    """A submission that the API server took."""

    action: Action
    identity: Identity
    dry_run: bool
    changed: tuple[str, ...] = ()


def read_submission(path: Path, namespace: str | None) -> Submission:
    """Read and check a manifest as `validate` does. Raises InvalidManifest, ManifestErrors, and UsageRefusal where it names another namespace."""
    manifest = load_manifest(path)
    resolve(manifest.spec, local_identity(manifest), Mounts(models=MODELS_FOLDER, data=DATA_FOLDER, output=OUTPUT_FOLDER))
    own = manifest.metadata.namespace
    if namespace and own and namespace != own:
        remedy = "Leave out --namespace, or correct metadata.namespace."
        raise UsageRefusal("--namespace", found=namespace, expected=f"{own}, as {path} says", remedy=remedy)
    return Submission(manifest, own)


def send(cluster: Cluster, wanted: Submission, *, dry_run: bool) -> Submitted:
    """Create the run, or make the one of its name agree. Raises Refusal where the API server does, InvalidManifest where the spec is another."""
    requester = wanted.requester or _caller(cluster)
    try:
        return _submitted(Action.CREATED, cluster.create(wanted.body(requester), dry_run=dry_run), dry_run)
    except Conflict:
        return _agree(cluster, wanted, cluster.run(wanted.manifest.metadata.name), dry_run)


def _caller(cluster: Cluster) -> str:
    """Who asks, as the API server knows them; empty where it does not say, which is told and keeps nobody from submitting."""
    try:
        return cluster.caller()
    except (Unreachable, Unauthenticated):
        raise
    except ClusterRefusal as refusal:
        say(f"submitting without a requester: the API server does not tell who you are (SelfSubjectReview: {refusal.reason})")
        return ""


def _agree(cluster: Cluster, wanted: Submission, stored: Object, dry_run: bool) -> Submitted:
    name, spec = wanted.manifest.metadata.name, wanted.manifest.spec
    if "deletionTimestamp" in stored["metadata"]:
        raise Conflict(f"run {name}", found="one of this name that is being deleted", expected="a free name", remedy="Try again once it is gone.")
    differing = _differing(_plain(spec), _stored_spec(name, stored))
    if not differing:
        return _submitted(Action.UNCHANGED, stored, dry_run)
    if fixed := [field for field in differing if not field.startswith(f"spec.{MUTABLE}")]:
        raise _immutable(name, cluster.namespace, fixed)
    changes = spec.run_policy.model_dump(mode="json", by_alias=True)
    return _submitted(Action.CHANGED, cluster.set_policy(name, changes, dry_run=dry_run), dry_run, tuple(differing))


def _immutable(name: str, namespace: str, fixed: list[str]) -> InvalidManifest:
    remedy = f"Give the manifest another metadata.name; or delete the run first (its results stay): kubectl delete mft {name} -n {namespace}."
    return InvalidManifest(
        ", ".join(fixed), found=f"another value than in the run {name} that exists", expected="the same: the spec is immutable but for runPolicy", remedy=remedy
    )


def _stored_spec(name: str, stored: Object) -> dict[str, Any]:
    try:
        return _plain(FineTuneSpec.model_validate_json(json.dumps(stored.get("spec", {}))))
    except ValidationError:
        found = f"a run {name} that another version of medfinetune wrote"
        raise InvalidManifest("metadata.name", found=found, expected="a free name", remedy="Give the manifest another metadata.name.") from None


def _plain(spec: FineTuneSpec) -> dict[str, Any]:
    """With every default, as both sides understand it."""
    plain: dict[str, Any] = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    return plain


def _differing(wanted: Any, stored: Any) -> list[str]:
    """Fields that differ, in the manifest's order."""
    return list(dict.fromkeys(_differences(wanted, stored, "spec")))


def _differences(wanted: Any, stored: Any, field: str) -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(stored, dict):
        for name in (*wanted, *(name for name in stored if name not in wanted)):
            yield from _differences(wanted.get(name), stored.get(name), f"{field}.{name}")
    elif wanted != stored:
        yield field


def _submitted(action: Action, body: Object, dry_run: bool, changed: tuple[str, ...] = ()) -> Submitted:
    meta = body["metadata"]
    return Submitted(action, Identity(name=meta["name"], namespace=meta["namespace"], uid=meta["uid"]), dry_run, changed)
