"""Run: one MedFineTune as the operator reads it. What the API server stored is parsed here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from medfinetune_api.choices import WORK, Stage
from medfinetune_api.errors import InvalidManifest, Refusal
from medfinetune_api.objects import DATA_FOLDER, MODELS_FOLDER, OUTPUT_FOLDER, RELEASE_ANNOTATION, RELEASED_BY_ANNOTATION, REQUESTER_ANNOTATION
from medfinetune_api.plan import Identity, Mounts, RunPlan
from medfinetune_api.resolve import resolve
from medfinetune_api.results_gates import ReleaseRequest
from medfinetune_api.spec import FineTuneSpec
from medfinetune_api.status import FineTuneStatus
from pydantic import ValidationError

MOUNTS = Mounts(models=MODELS_FOLDER, data=DATA_FOLDER, output=OUTPUT_FOLDER)


@dataclass(frozen=True)
class Run:
    """One MedFineTune."""

    identity: Identity
    generation: int
    created: datetime
    deleting: bool
    spec: FineTuneSpec | None
    """None where this version cannot read what is stored."""
    plan: RunPlan | Refusal
    """The resolved plan, or why there never will be one."""
    status: FineTuneStatus
    resource_version: str
    requester: str = ""
    """Who asked for it, as its annotation says; empty where it has none."""
    release: ReleaseRequest | Refusal | None = None
    """By which decision it is to be released, where its annotations hold one; or why that cannot be recorded."""

    @property
    def name(self) -> str:
        """metadata.name."""
        return self.identity.name

    @property
    def namespace(self) -> str:
        """metadata.namespace."""
        return self.identity.namespace

    def is_gang(self, stage: Stage) -> bool:
        """Whether the pods of `stage` are one gang, a rank for each GPU: train always, evaluate where prepare found that the model does not fit one GPU."""
        prepared = self.status.prepared
        return stage is Stage.TRAIN or (stage is Stage.EVALUATE and prepared is not None and prepared.evaluate_on_gang)

    def pods_of(self, stage: Stage) -> int:
        """Pods of one attempt of `stage`: the gang's nodes, else one."""
        assert self.spec is not None
        return self.spec.parallelism.nodes if self.is_gang(stage) else 1

    @property
    def claim(self) -> str:
        """Name of the output claim: the one named, or the one made for the run."""
        assert self.spec is not None
        existing = self.spec.output.volume.persistent_volume_claim
        return existing.claim_name if existing else self.identity.folder


def read_run(body: Mapping[str, Any], before: Run | None = None) -> Run:
    """A MedFineTune from its JSON. Never raises on what a user may have stored: the refusal becomes the run's plan.

    `before`, the same run as it was read earlier, spares reading a spec again that has not changed.
    """
    meta = body["metadata"]
    identity = Identity(name=meta["name"], namespace=meta["namespace"], uid=meta["uid"])
    known = before is not None and (before.identity, before.generation) == (identity, meta.get("generation", 0))
    spec, plan = (before.spec, before.plan) if before is not None and known else _planned(body.get("spec", {}), identity)
    return Run(
        identity=identity,
        generation=meta.get("generation", 0),
        created=datetime.fromisoformat(meta["creationTimestamp"]),
        deleting="deletionTimestamp" in meta,
        spec=spec,
        plan=plan,
        status=_status(body.get("status") or {}),
        resource_version=meta["resourceVersion"],
        requester=(meta.get("annotations") or {}).get(REQUESTER_ANNOTATION, ""),
        release=_release(meta.get("annotations") or {}),
    )


def next_stage(stage: Stage) -> Stage | None:
    """The stage of work after `stage`; None after the last."""
    following = WORK[WORK.index(stage) + 1 :] if stage in WORK else ()
    return following[0] if following else None


def _planned(spec: Mapping[str, Any], identity: Identity) -> tuple[FineTuneSpec | None, RunPlan | Refusal]:
    try:
        parsed = FineTuneSpec.model_validate(spec)
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(map(str, each["loc"])) for each in error.errors(include_input=False, include_url=False)})[:5])
        return None, InvalidManifest(
            "spec",
            found=f"fields that this operator cannot read: {fields}",
            expected="a spec of its own version",
            remedy="Apply the manifest again under another name.",
        )
    try:
        return parsed, resolve(parsed, identity, MOUNTS)
    except Refusal as refusal:
        return parsed, refusal


def _release(annotations: Mapping[str, str]) -> ReleaseRequest | Refusal | None:
    """Who may have written it is the admission policy's to say; without that, the operator's settings heed none."""
    reason = annotations.get(RELEASE_ANNOTATION, "")
    if not reason.strip():
        return None
    try:
        return ReleaseRequest(by=annotations.get(RELEASED_BY_ANNOTATION, ""), reason=reason)
    except ValidationError:
        return InvalidManifest(
            f"metadata.annotations[{RELEASE_ANNOTATION}]",
            found="a decision that cannot be recorded",
            expected=f"a reason in one line of at most 1000 characters, and in {RELEASED_BY_ANNOTATION} who decides",
            remedy="Set both annotations together.",
        )


def _status(status: Mapping[str, Any]) -> FineTuneStatus:
    """What is stored. A status that cannot be read is nobody's but a newer operator's: it must stop us, not be overwritten."""
    return FineTuneStatus.model_validate(status)
