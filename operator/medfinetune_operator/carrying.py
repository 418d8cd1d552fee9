"""An attempt from its decision to its Job, and from its Job to its end: status says first what is then done, so that a crash anywhere changes nothing."""

from __future__ import annotations

from medfinetune_api.choices import WORK, Stage
from medfinetune_api.conditions import ConditionReason, ConditionType
from medfinetune_api.status import Attempt

from medfinetune_operator.attempts import active_seconds, add_attempt, last_attempt, next_number
from medfinetune_operator.closing import close, ending
from medfinetune_operator.conditions import STAGE_CONDITION, condition, is_terminal, is_true
from medfinetune_operator.draft import LOOK_AGAIN_SECONDS, Draft, Waiting
from medfinetune_operator.observation import Child, Job
from medfinetune_operator.results import show_artifacts
from medfinetune_operator.retrying import next_micro_batch, next_start
from medfinetune_operator.sentences import TROUBLES
from medfinetune_operator.stopping import owner_stops, slow_pod, why_stop
from medfinetune_operator.verdict import Verdict
from medfinetune_operator.waiting import claims_wait, node_lost, not_allowed, others_wait, refused, standing, uncreatable

QUIET = (ConditionReason.STARTING, ConditionReason.RUNNING, ConditionReason.QUEUED)
"""What an attempt may be for long, with nothing amiss: events tell when that changes."""
ALARMING = (ConditionReason.STALLED, ConditionReason.DEADLINE_EXCEEDED, ConditionReason.SCHEDULING_TIMEOUT)
"""Reasons to stop an attempt that nobody asked for."""


def begin(draft: Draft, stage: Stage) -> None:
    """Decide the next attempt of a stage, or say what it waits for. Its Job is created only when this decision is stored."""
    last = last_attempt(draft.status, stage)
    for waits in (not_allowed, claims_wait, others_wait, _backs_off):
        if waiting := waits(draft, stage):
            draft.stage_waits(stage, waiting)
            if waiting.reason is not ConditionReason.BACKING_OFF:
                draft.look_in(LOOK_AGAIN_SECONDS)
            return
    add_attempt(draft, Attempt(stage=stage, number=next_number(draft.status, stage), start_time=draft.stamp, micro_batch=next_micro_batch(draft, last)))
    if draft.status.artifacts is None:
        show_artifacts(draft)


def tend(draft: Draft, attempt: Attempt) -> None:
    """Carry an open attempt on: create its Job, stop it, or say how it is."""
    job = draft.job(attempt)
    if job is None and attempt.job_uid is None:
        _create(draft, attempt)
    elif attempt.stopping or job is None or not job.live:
        _await_end(draft, attempt, job)
    elif (stops := why_stop(draft, attempt, job)) is None:
        _say(draft, attempt, standing(draft, attempt, job))
        draft.make = missing(draft, attempt.stage)
    else:
        _stop(draft, attempt, stops)


def missing(draft: Draft, stage: Stage) -> tuple[Child, ...]:
    """What must exist before, and while, a Job of the stage does. Purge and release make no claim: where there is none, nothing lies on it."""
    needed = [Child.PLAN, Child.POLICY]
    if draft.run.is_gang(stage):
        needed.append(Child.SERVICE)
    prepared = is_true(draft.status, ConditionType.PREPARED)  # a claim that is gone by then took the run's folder with it: an empty one is no remedy
    if stage in WORK and not prepared and draft.run.spec and draft.run.spec.output.volume.claim_template:
        needed.append(Child.CLAIM)
    return tuple(child for child in needed if child not in draft.seen.children)


def _create(draft: Draft, attempt: Attempt) -> None:
    """Create the Job, though its run be suspended or cancelled meanwhile: a creation may be on its way already, and only what was seen can be stopped.

    Where the API server refuses it nothing is on its way, and once the run has ended nothing is created.
    """
    held = uncreatable(draft, attempt)
    waiting = held or refused(draft, attempt) or Waiting(ConditionReason.STARTING, f"{draft.job_name(attempt)} is being created.")
    reason = owner_stops(draft, attempt)
    if reason and (waiting.reason in TROUBLES or is_terminal(draft.status)):
        close(draft, attempt, Verdict(reason))
        return
    _say(draft, attempt, waiting)
    draft.look_in(LOOK_AGAIN_SECONDS)
    if held is None:
        draft.make, draft.start = missing(draft, attempt.stage), attempt


def _stop(draft: Draft, attempt: Attempt, stops: Waiting) -> None:
    """Write down why it is stopped; the next look, which comes at once, deletes the Job. The clock of its work stops here."""
    index, node = slow_pod(draft, stops.reason)
    draft.update(active_seconds=draft.status.active_seconds + active_seconds(draft, attempt))
    draft.replace_attempt(attempt, stopping=stops.reason, index=index, node=node)
    draft.note(stops.reason, stops.message, warning=stops.reason in ALARMING)
    draft.stage_waits(attempt.stage, Waiting(ConditionReason.STOPPING, stops.message))


def _await_end(draft: Draft, attempt: Attempt, job: Job | None) -> None:
    """Delete its Job if that lives, and wait until nothing of it can write."""
    if job and job.live and not job.deleting:
        draft.stop.append(job)
    waiting = node_lost(draft, draft.pods(attempt))
    before = condition(draft.status, STAGE_CONDITION[attempt.stage])
    if waiting or before is None or before.reason is not ConditionReason.STOPPING:
        _say(draft, attempt, waiting or Waiting(ConditionReason.STOPPING, f"The pods of {draft.job_name(attempt)} are ending."))
    draft.look_in(LOOK_AGAIN_SECONDS)


def _say(draft: Draft, attempt: Attempt, waiting: Waiting) -> None:
    draft.stage_waits(attempt.stage, waiting)
    if attempt.stage is Stage.TRAIN and waiting.reason is ConditionReason.RUNNING:
        draft.look_in(draft.settings.progress_seconds)
    elif waiting.reason not in QUIET:
        draft.look_in(LOOK_AGAIN_SECONDS)


def _backs_off(draft: Draft, stage: Stage) -> Waiting | None:
    last = last_attempt(draft.status, stage)
    if last is None or draft.reached(next_start(draft, last)):
        return None
    return Waiting(ConditionReason.BACKING_OFF, f"{ending(draft, last)} The next attempt waits its turn.")
