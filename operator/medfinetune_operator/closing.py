"""How an open attempt ends. Judged only when nothing of it can write any more, and once its Job has ended or is gone."""

from __future__ import annotations

from medfinetune_api.choices import WORK
from medfinetune_api.conditions import ConditionReason
from medfinetune_api.exits import Exit
from medfinetune_api.status import Attempt

from medfinetune_operator.attempts import active_seconds, open_attempts
from medfinetune_operator.draft import Draft
from medfinetune_operator.observation import Job
from medfinetune_operator.results import take_result, take_tasks, take_tried
from medfinetune_operator.sentences import MEANINGS
from medfinetune_operator.verdict import Verdict, fate, judge

COMPLETE = Verdict(ConditionReason.SUCCEEDED, Exit.SUCCEEDED)


def close_ended(draft: Draft) -> None:
    """Close every open attempt that has ended. A pod that has not, though its Job has, is news that is still on its way."""
    for attempt in open_attempts(draft.status):
        job = draft.job(attempt)
        if any(not pod.ended for pod in draft.pods(attempt)):
            continue
        if job and job.complete:
            close(draft, take_result(draft, attempt), COMPLETE)
        elif job.failed if job else attempt.job_uid:
            take_tasks(draft, attempt)
            close(draft, take_tried(draft, attempt), _verdict(draft, attempt, job))


def close(draft: Draft, attempt: Attempt, verdict: Verdict) -> None:
    """Write down how an attempt ended, and count what it cost. Purge and release cost nothing: the run has ended."""
    is_work = attempt.stage in WORK
    charged = is_work and fate(verdict.reason).charged
    draft.update(
        active_seconds=draft.status.active_seconds + active_seconds(draft, attempt),
        restarts=draft.status.restarts + charged,
        delays=draft.status.delays + 1 if is_work and verdict.reason is ConditionReason.SCHEDULING_TIMEOUT else draft.status.delays,
    )
    closed = draft.replace_attempt(
        attempt,
        end_time=draft.stamp,
        reason=verdict.reason,
        exit_code=None if verdict.exit_code is None else int(verdict.exit_code),
        index=verdict.index,
        node=verdict.node,
        charged=charged,
        endings=(),
    )
    draft.note(verdict.reason, ending(draft, closed), warning=verdict is not COMPLETE and fate(verdict.reason).charged)


def ending(draft: Draft, attempt: Attempt) -> str:
    """The sentence about an attempt that has ended."""
    reason = attempt.reason or ConditionReason.EVIDENCE_LOST
    where = "" if attempt.index is None else f" (pod {attempt.index}" + (f" on node {attempt.node})" if attempt.node else ")")
    return f"{draft.job_name(attempt)} ended: {reason}{where}. {MEANINGS[reason]}"


def _verdict(draft: Draft, attempt: Attempt, job: Job | None) -> Verdict:
    """What the operator stopped ended for that; what Kueue took away was preempted; the rest is judged by its pods."""
    if attempt.stopping:
        return Verdict(attempt.stopping, index=attempt.index, node=attempt.node)
    if job and job.suspended:
        return Verdict(ConditionReason.DISRUPTED)
    wanted = job.pods_wanted if job else draft.run.pods_of(attempt.stage) if draft.run.spec else 1
    return judge(attempt.endings, draft.pods(attempt), wanted)
