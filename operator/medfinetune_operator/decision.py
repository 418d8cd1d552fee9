"""Decision: what `reconcile.py` wants done. The controller stores the status first and does the rest only when that has succeeded: a crash anywhere between
leaves a state from which the next look decides the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from medfinetune_api.conditions import ConditionReason
from medfinetune_api.status import Attempt, FineTuneStatus

from medfinetune_operator.observation import Child, Job


@dataclass(frozen=True)
class Note:
    """An Event for people: a transition, in the contract's words."""

    reason: ConditionReason
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Decision:
    """What to do, in the order of the fields."""

    status: FineTuneStatus
    """What status should be; equal to the present one where nothing changed."""
    stop: tuple[Job, ...] = ()
    """Jobs to delete: Foreground, with their uid as precondition."""
    make: tuple[Child, ...] = ()
    """Children to create or apply, in this order; only those that are missing or not as they should be."""
    start: Attempt | None = None
    """The attempt of `status` whose Job to create."""
    remove_children: bool = False
    """The time to live is over: delete Jobs, Service, NetworkPolicy and plan; never a claim."""
    notes: tuple[Note, ...] = ()
    """Events to post, once status is stored."""
    again: float | None = None
    """Seconds after which to look again though nothing may have happened; None waits for an event or the resync."""
