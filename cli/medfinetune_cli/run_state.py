"""RunState: one MedFineTune as the command line reads it. What the API server stored is parsed here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from medfinetune_api.choices import WORK, Stage
from medfinetune_api.conditions import ConditionReason, ConditionStatus, ConditionType, Phase
from medfinetune_api.exits import EXITS, Exit
from medfinetune_api.plan import Identity
from medfinetune_api.status import Attempt, Condition, FineTuneStatus
from pydantic import ValidationError

from medfinetune_cli.cluster_errors import Unexpected

FINAL = (ConditionType.SUCCEEDED, ConditionType.FAILED, ConditionType.QUARANTINED)
"""Conditions of which one is True once the run has ended, whatever becomes of it."""
STAGE_CONDITIONS = {Stage.PREPARE: ConditionType.PREPARED, Stage.TRAIN: ConditionType.TRAINED, Stage.EVALUATE: ConditionType.EVALUATED}
_CODES = {meaning.reason: code for code, meaning in EXITS.items()}


@dataclass(frozen=True)
class RunState:
    """One run: who it is, what its owner may still change, and what is seen of it."""

    identity: Identity
    created: datetime
    deleting: bool
    policy: Mapping[str, Any]
    """spec.runPolicy as stored."""
    status: FineTuneStatus

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> RunState:
        """From its JSON. Raises Unexpected where another version wrote the status."""
        meta = body["metadata"]
        try:
            status = FineTuneStatus.model_validate(body.get("status") or {})
        except ValidationError as error:
            fields = ", ".join(dict.fromkeys(".".join(map(str, one["loc"][:1])) for one in error.errors(include_input=False, include_url=False)))
            remedy = "Use a medfinetune of the operator's version; `kubectl get mft -o yaml` shows the status as it is."
            raise Unexpected(f"status of {meta['name']}", found=f"fields of another version: {fields}", expected="this version's", remedy=remedy) from None
        identity = Identity(name=meta["name"], namespace=meta["namespace"], uid=meta["uid"])
        created = datetime.fromisoformat(meta["creationTimestamp"])
        return cls(identity, created, "deletionTimestamp" in meta, body.get("spec", {}).get("runPolicy", {}), status)

    @property
    def name(self) -> str:
        """metadata.name."""
        return self.identity.name

    @property
    def phase(self) -> str:
        """The run in one word; Pending while the operator has not seen it."""
        return self.status.phase or Phase.PENDING

    @property
    def ended(self) -> bool:
        """Whether the run has ended, in whatever way. Programs read conditions, never the phase."""
        return any((found := self.condition(kind)) and found.status is ConditionStatus.TRUE for kind in FINAL)

    def condition(self, kind: ConditionType) -> Condition | None:
        """The condition of that type, where there is one."""
        return next((one for one in self.status.conditions if one.type is kind), None)

    @property
    def last_attempt(self) -> Attempt | None:
        """The newest attempt of the run's work; what comes after its end decides nothing."""
        return next((one for one in reversed(self.status.attempts) if one.stage in WORK), None)

    @property
    def released(self) -> Condition | None:
        """By whom and when it was released against its gates; None where it was not."""
        found = self.condition(ConditionType.RELEASED)
        return found if found and found.status is ConditionStatus.TRUE else None

    @property
    def exit_code(self) -> Exit:
        """How the run ended by the contract's table: 0 where it succeeded or was released, else the code of the deciding attempt, or of the reason."""
        succeeded = self.condition(ConditionType.SUCCEEDED)
        if succeeded and succeeded.status is ConditionStatus.TRUE:
            return Exit.SUCCEEDED
        if self.reason is ConditionReason.CANCELLED:
            return Exit.INTERRUPTED
        if self.last_attempt and self.last_attempt.exit_code in EXITS and self.last_attempt.exit_code:
            return Exit(self.last_attempt.exit_code)
        return _CODES.get(str(self.reason), Exit.INTERNAL_ERROR)

    @property
    def reason(self) -> ConditionReason | None:
        """Why the run ended; None while it goes on."""
        ended = (self.condition(kind) for kind in (ConditionType.SUCCEEDED, ConditionType.QUARANTINED, ConditionType.FAILED))
        return next((one.reason for one in ended if one and one.status is ConditionStatus.TRUE), None)

    @property
    def present(self) -> Condition | None:
        """The condition that says what happens now: refused, suspended, or that of the stage at work."""
        accepted, suspended = self.condition(ConditionType.ACCEPTED), self.condition(ConditionType.SUSPENDED)
        if accepted and accepted.status is ConditionStatus.FALSE:
            return accepted
        if suspended and suspended.status is ConditionStatus.TRUE:
            return suspended
        stage = self.status.stage or Stage.PREPARE
        return self.condition(STAGE_CONDITIONS[stage]) if stage in STAGE_CONDITIONS else None


def claim_of(body: Mapping[str, Any], identity: Identity) -> str:
    """Name of the output claim: the one that the spec names, or the one made for the run, which has its folder's name."""
    named = body["spec"]["output"]["volume"].get("persistentVolumeClaim")
    return str(named["claimName"]) if named else identity.folder
