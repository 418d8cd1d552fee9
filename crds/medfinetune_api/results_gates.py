"""`evaluation/gates.json` and `release.json`: what the gates decided, and who released what they had stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints

from medfinetune_api.base import Contract
from medfinetune_api.plan_evaluation import GatePlan
from medfinetune_api.scalars import ENTRIES, PRINTABLE, Count, Message, Name, Sha256

Measured = Annotated[float, Field(ge=-1, le=1)]
"""A measurement of 0 to 1; of maxDrop what was lost, below 0 where something was gained."""
Person = Annotated[str, Field(min_length=1, max_length=512, pattern=PRINTABLE)]
Justification = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000, pattern=PRINTABLE)]
FilePath = Annotated[str, Field(max_length=4096)]


class GateOutcome(Contract):
    """One gate: what was asked, what was measured, what follows."""

    gate: GatePlan
    """The gate as the plan has it: scope, metric, bound."""
    n: Count = 0
    """Questions or answers measured; 0 where nothing was."""
    value: Measured | None = None
    """The measurement; of maxDrop, what was lost. Absent where there was none: the gate has failed."""
    low: Measured | None = None
    """Lower end of its 95 % interval."""
    high: Measured | None = None
    """Upper end of its 95 % interval."""
    passed: bool
    """Whether the gate holds."""
    sentence: Message
    """What was measured against what, for a person."""


class GateReport(Contract):
    """`evaluation/gates.json`."""

    plan_sha256: Sha256
    """Hash of the plan it belongs to."""
    gates: Annotated[tuple[GateOutcome, ...], Field(max_length=ENTRIES)]
    """One entry a gate, in the plan's order."""

    @property
    def failed(self) -> tuple[GateOutcome, ...]:
        """The gates that stop the run; none releases it."""
        return tuple(outcome for outcome in self.gates if not outcome.passed)


class ReleaseRequest(Contract):
    """Somebody's decision to release what a gate has stopped."""

    by: Person
    """Who decides: the name that the cluster proved, or the user of this machine."""
    reason: Justification
    """Why, in one line of at most 1000 characters."""


class Release(Contract):
    """`release.json`: the decision, and what it was about."""

    plan_sha256: Sha256
    """Hash of the plan it belongs to."""
    by: Person
    """Who decided."""
    reason: Justification
    """Why."""
    time: AwareDatetime
    """When."""
    gates: Annotated[tuple[Name, ...], Field(max_length=ENTRIES)]
    """Gates that had failed."""
    lineage_sha256: Sha256
    """Hash of the lineage.json of the quarantined run, which was verified first."""
    files: Annotated[Mapping[FilePath, Sha256], Field(max_length=1_000_000)]
    """SHA-256 of every file that was released but the model card, by path below the released folder."""
