"""Conditions in a status: read and set as Kubernetes' API conventions say. The time of a condition moves only when its status does."""

from __future__ import annotations

from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionStatus, ConditionType, Phase
from medfinetune_api.status import Condition, FineTuneStatus

MESSAGE_LENGTH = 1024
"""Most characters of a condition's message."""

STAGE_CONDITION = {
    Stage.PREPARE: ConditionType.PREPARED,
    Stage.TRAIN: ConditionType.TRAINED,
    Stage.EVALUATE: ConditionType.EVALUATED,
    Stage.PURGE: ConditionType.PURGED,
    Stage.RELEASE: ConditionType.RELEASED,
}
"""The condition that is true once a stage is complete."""

STAGE_PHASE = {Stage.PREPARE: Phase.PREPARING, Stage.TRAIN: Phase.TRAINING, Stage.EVALUATE: Phase.EVALUATING}


def condition(status: FineTuneStatus, kind: ConditionType) -> Condition | None:
    """The condition of a type; None where it was never set."""
    return next((each for each in status.conditions if each.type is kind), None)


def is_true(status: FineTuneStatus, kind: ConditionType) -> bool:
    """Whether a condition is set and true."""
    found = condition(status, kind)
    return found is not None and found.status is ConditionStatus.TRUE


def is_terminal(status: FineTuneStatus) -> bool:
    """Whether the run has ended: whatever is seen from now on, it stays so."""
    return is_true(status, ConditionType.SUCCEEDED) or is_true(status, ConditionType.FAILED)


def with_condition(status: FineTuneStatus, wanted: Condition) -> FineTuneStatus:
    """The status with one condition set; equal to the old one where it says so already."""
    before = condition(status, wanted.type)
    since = before.last_transition_time if before and before.status is wanted.status else wanted.last_transition_time
    after = wanted.model_copy(update={"last_transition_time": since})
    others = tuple(after if each.type is wanted.type else each for each in status.conditions)
    return status.model_copy(update={"conditions": others if before else (*others, after)})
