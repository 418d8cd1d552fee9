"""The end of a run: how it is declared, and what still happens after it. The purge of record text, the release of what a gate has
stopped, the time to live, and nothing else.
"""

from __future__ import annotations

from medfinetune_api.choices import AFTERWARDS, WORK, Stage
from medfinetune_api.conditions import ConditionReason, ConditionStatus, ConditionType, Phase
from medfinetune_api.plan import RunPlan

from medfinetune_operator.attempts import MAX_NUMBER, attempts_of, next_number, open_attempts
from medfinetune_operator.carrying import begin, tend
from medfinetune_operator.conditions import STAGE_CONDITION, condition, is_true
from medfinetune_operator.draft import Draft
from medfinetune_operator.observation import Child
from medfinetune_operator.releasing import is_quarantined, release_left, watch_release
from medfinetune_operator.verdict import fate
from medfinetune_operator.waiting import is_output

PURGE_ATTEMPTS = 3
"""Failures of the purge until a person has to see to it."""

DISRUPTED = fate(ConditionReason.DISRUPTED)
_PHASES = {ConditionReason.CANCELLED: Phase.CANCELLED, ConditionReason.GATE_FAILED: Phase.QUARANTINED}


def succeed(draft: Draft) -> None:
    """All stages are complete."""
    message = f"The adapter is in folder {draft.run.identity.folder} of claim {draft.run.claim}."
    _end(draft, Phase.SUCCEEDED, ConditionReason.SUCCEEDED, message, succeeded=True)


def fail(draft: Draft, reason: ConditionReason, message: str) -> None:
    """The run ends without an adapter that may be used. Stages that were not reached say why they never will be."""
    for stage in WORK:
        if not is_true(draft.status, STAGE_CONDITION[stage]):
            draft.set_condition(STAGE_CONDITION[stage], False, reason, message)
    if reason is ConditionReason.GATE_FAILED:
        draft.set_condition(ConditionType.QUARANTINED, True, reason, message)
    _end(draft, _PHASES.get(reason, Phase.FAILED), reason, message, succeeded=False)


def after_end(draft: Draft) -> None:
    """What a run that has ended still needs: that nothing of it lives on, that record text goes, and at last that its children go."""
    watch_release(draft)
    for attempt in open_attempts(draft.status):
        tend(draft, attempt)
    if not open_attempts(draft.status):
        if _purge_left(draft):
            begin(draft, Stage.PURGE)
        elif release_left(draft):
            begin(draft, Stage.RELEASE)
        else:
            _time_to_live(draft)
    shown = AFTERWARDS if is_quarantined(draft) else (Stage.PURGE,)
    draft.update(stage=next((each.stage for each in open_attempts(draft.status) if each.stage in shown), None))


def _end(draft: Draft, phase: Phase, reason: ConditionReason, message: str, *, succeeded: bool) -> None:
    draft.set_condition(ConditionType.SUCCEEDED, succeeded, reason, message)
    draft.set_condition(ConditionType.FAILED, not succeeded, reason, message)
    if is_true(draft.status, ConditionType.SUSPENDED):
        draft.set_condition(ConditionType.SUSPENDED, False, reason, "The run has ended.")
    draft.update(phase=phase, stage=None, delays=0, completion_time=draft.stamp)
    draft.note(reason, message, warning=not succeeded and reason is not ConditionReason.CANCELLED)


def _purge_left(draft: Draft) -> bool:
    """Whether record text may still lie on the volume and another attempt may remove it. If none may, a person has to."""
    purged = condition(draft.status, ConditionType.PURGED)
    if not draft.status.attempts or (purged and (purged.status is ConditionStatus.TRUE or purged.reason is ConditionReason.PURGE_FAILED)):
        return False
    if any(claim.phase is None for claim in draft.seen.claims if is_output(claim)):
        draft.set_condition(ConditionType.PURGED, True, ConditionReason.SUCCEEDED, "The output claim does not exist: nothing of the run lies on it.")
        return False
    tries = attempts_of(draft.status, Stage.PURGE)
    failures = [each for each in tries if each.reason and (each.reason is ConditionReason.SCHEDULING_TIMEOUT or fate(each.reason) != DISRUPTED)]
    if len(failures) < PURGE_ATTEMPTS and next_number(draft.status, Stage.PURGE) <= MAX_NUMBER and isinstance(draft.run.plan, RunPlan):
        return True
    message = f"Record text may still lie on the output volume. {draft.remedy(ConditionReason.PURGE_FAILED)}"
    draft.set_condition(ConditionType.PURGED, False, ConditionReason.PURGE_FAILED, message)
    draft.note(ConditionReason.PURGE_FAILED, message, warning=True)
    return False


def _time_to_live(draft: Draft) -> None:
    """Children go when it is over; the run itself stays, or whoever keeps it in Git would train again."""
    seconds, ended = draft.policy.ttl_seconds_after_finished, draft.status.completion_time
    left = draft.seen.children - {Child.CLAIM} or any(job.owned for job in draft.seen.jobs)
    if seconds is not None and ended and left and draft.passed(ended, seconds):
        draft.remove_children = True
