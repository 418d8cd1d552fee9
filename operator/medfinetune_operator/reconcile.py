"""Reconcile: what is seen of a run and what its status says, to what its status should say and what is to be done. Pure, total, and level-based.

The rules are gone through until the status does not change any more; only what the last round asks for is done. So deciding again on what was stored, with the
same in sight, changes nothing and asks for the same: an operator that was killed anywhere between goes on as if nothing had been.

What they keep, whatever happens: at most one attempt of a run lives; an attempt is counted in status before its Job exists; an end is final. A run that has
ended never works again, and how it ended changes in one case alone: somebody who may releases what a gate had stopped (`releasing.py`).
"""

from __future__ import annotations

from datetime import datetime

from medfinetune_api.choices import WORK, Stage
from medfinetune_api.conditions import ConditionReason, ConditionType, Phase
from medfinetune_api.errors import Refusal

from medfinetune_operator.attempts import adopt, follow, last_attempt, open_attempts
from medfinetune_operator.carrying import begin, tend
from medfinetune_operator.closing import close_ended, ending
from medfinetune_operator.conditions import STAGE_CONDITION, STAGE_PHASE, condition, is_terminal, is_true
from medfinetune_operator.decision import Decision, Note
from medfinetune_operator.draft import Draft, Waiting
from medfinetune_operator.ending import after_end, fail, succeed
from medfinetune_operator.observation import Observation
from medfinetune_operator.progress import follow_progress
from medfinetune_operator.retrying import is_final
from medfinetune_operator.run import Run
from medfinetune_operator.sentences import MEANINGS
from medfinetune_operator.settings import Settings
from medfinetune_operator.stopping import deadline_passed
from medfinetune_operator.waiting import not_allowed, others_wait

ROUNDS = 16
"""Most rounds of one decision; none took more than five in 115,000 looks at random histories."""
KEPT_JOBS = 2
"""Finished Jobs of each stage that stay, for their logs."""


def reconcile(run: Run, seen: Observation, now: datetime, settings: Settings) -> Decision:
    """What to do about `run`. The status of the decision equals the present one where nothing changed."""
    notes: list[Note] = []
    draft = Draft(run, seen, now, settings)
    for _ in range(ROUNDS):
        before, draft = draft.status, Draft(draft.run, seen, now, settings)
        _round(draft)
        notes += draft.notes
        if draft.status == before:
            break
    return draft.decision(notes)


def _round(draft: Draft) -> None:
    """One round of all rules. Of a run that is deleted only what lives is stopped: Kubernetes does so too, but not while another's finalizer holds the run."""
    if draft.run.deleting:
        draft.stop += [job for job in draft.seen.jobs if job.owned and job.live and not job.deleting]
        return
    _know_requester(draft)
    draft.update(observed_generation=draft.run.generation)
    adopt(draft)
    follow(draft)
    follow_progress(draft)
    close_ended(draft)
    _clear_away(draft)
    if not is_terminal(draft.status):
        _go_on(draft)
    else:
        after_end(draft)


def _know_requester(draft: Draft) -> None:
    """At the first look only: nobody changes the annotation under the policy, but of a run that was there before it nothing is proven."""
    if draft.settings.requester and draft.run.requester and draft.status.observed_generation is None:
        draft.update(requester=draft.run.requester[:512])


def _go_on(draft: Draft) -> None:
    """Carry the run on by one step, or find that it has ended."""
    if isinstance(draft.run.plan, Refusal):
        _refuse(draft, draft.run.plan)
        return
    _accept(draft)
    stage = next((stage for stage in WORK if not is_true(draft.status, STAGE_CONDITION[stage])), None)
    if opened := open_attempts(draft.status):
        for attempt in opened:
            tend(draft, attempt)
    elif stage is None:
        succeed(draft)
    elif not _fails(draft, stage) and not _rests(draft, stage):
        begin(draft, stage)
    if not is_terminal(draft.status):
        _show(draft, stage)


def _refuse(draft: Draft, refusal: Refusal) -> None:
    """There never will be a plan. The refusal speaks of fields of the manifest, and may be shown."""
    draft.set_condition(ConditionType.ACCEPTED, False, ConditionReason.INVALID_MANIFEST, str(refusal))
    fail(draft, ConditionReason.INVALID_MANIFEST, str(refusal))


def _accept(draft: Draft) -> None:
    """Say whether the spec may be carried out, and what has not come yet."""
    refused = not_allowed(draft, Stage.PREPARE)
    resolved = Waiting(ConditionReason.RESOLVED, "The spec resolves to a plan.")
    draft.set_condition(ConditionType.ACCEPTED, refused is None, *(refused or resolved))
    for stage, before in zip(WORK, (None, *WORK), strict=False):
        if condition(draft.status, STAGE_CONDITION[stage]) is None:
            draft.stage_waits(stage, Waiting(ConditionReason.WAITING, f"Waits for {before}." if before else "Waits to begin."))
    for kind in (ConditionType.SUCCEEDED, ConditionType.FAILED):
        draft.set_condition(kind, False, ConditionReason.RUNNING, "The run has not ended.")


def _fails(draft: Draft, stage: Stage) -> bool:
    """Whether the run ends here: cancelled, failed for good, or out of time."""
    last = last_attempt(draft.status, stage)
    reason = None
    if draft.policy.cancel:
        reason, why = ConditionReason.CANCELLED, MEANINGS[ConditionReason.CANCELLED]
    elif last and last.reason and is_final(draft, last):
        charged = f"Charged failures: {draft.status.restarts}, with spec.runPolicy.maxRestarts {draft.policy.max_restarts}."
        reason, why = last.reason, f"{ending(draft, last)} {charged}"
    elif deadline_passed(draft):
        reason, why = ConditionReason.DEADLINE_EXCEEDED, MEANINGS[ConditionReason.DEADLINE_EXCEEDED]
    if reason:
        fail(draft, reason, f"{why} {draft.remedy(reason)}".strip())
    return reason is not None


def _rests(draft: Draft, stage: Stage) -> bool:
    """Whether the run is suspended: it is once nothing of it can run. Resuming needs no more than this no longer being so."""
    if not draft.policy.suspend:
        if is_true(draft.status, ConditionType.SUSPENDED):
            draft.set_condition(ConditionType.SUSPENDED, False, ConditionReason.RESUMED, "spec.runPolicy.suspend is no longer true.")
            draft.note(ConditionReason.RESUMED, f"The run continues with {stage}.")
        return False
    message = f"{MEANINGS[ConditionReason.SUSPENDED]} {draft.remedy(ConditionReason.SUSPENDED)}"
    if waiting := others_wait(draft, stage):
        draft.stage_waits(stage, waiting)
        return True
    if not is_true(draft.status, ConditionType.SUSPENDED):
        draft.note(ConditionReason.SUSPENDED, message)
    draft.set_condition(ConditionType.SUSPENDED, True, ConditionReason.SUSPENDED, message)
    draft.stage_waits(stage, Waiting(ConditionReason.SUSPENDED, message))
    return True


def _show(draft: Draft, stage: Stage | None) -> None:
    """Phase and stage, for people."""
    phase = STAGE_PHASE[stage] if stage and draft.status.attempts else Phase.PENDING
    if is_true(draft.status, ConditionType.SUSPENDED):
        phase = Phase.SUSPENDED
    draft.update(phase=phase, stage=stage if draft.status.attempts else None)


def _clear_away(draft: Draft) -> None:
    """Stop Jobs that live without an open attempt, and remove finished ones but the newest of each stage."""
    opened = {(each.stage, each.number) for each in open_attempts(draft.status)}
    others = [job for job in draft.seen.jobs if job.owned and not job.deleting and (job.stage, job.number) not in opened]
    draft.stop += [job for job in others if job.live]
    for stage in Stage:
        finished = sorted((job for job in others if job.stage is stage and not job.live), key=lambda job: job.number)
        draft.stop += finished[:-KEPT_JOBS]
