"""Why the operator stops an attempt: its owner's word, the deadline, half a gang, a gang that stands still. Suspicion is no reason: each needs evidence."""

from __future__ import annotations

from medfinetune_api.choices import WORK, Stage
from medfinetune_api.conditions import ConditionReason, ConditionType
from medfinetune_api.status import Attempt

from medfinetune_operator.attempts import ORDER, open_attempts
from medfinetune_operator.conditions import condition, is_terminal, is_true
from medfinetune_operator.draft import Draft, Waiting
from medfinetune_operator.observation import Job
from medfinetune_operator.progress import pod_of_rank, slowest, still_since
from medfinetune_operator.sentences import MEANINGS


def owner_stops(draft: Draft, attempt: Attempt) -> ConditionReason | None:
    """Whether a later attempt, the run's end or its owner's word stops an attempt, seen or not. The purge is nobody's to stop, nor is a release that is due."""
    if attempt.stage is Stage.PURGE or (attempt.stage is Stage.RELEASE and is_true(draft.status, ConditionType.QUARANTINED)):
        return None
    if attempt is not max(open_attempts(draft.status), key=lambda each: (ORDER.index(each.stage), each.number)):
        return ConditionReason.INTERRUPTED
    if is_terminal(draft.status):
        failed = condition(draft.status, ConditionType.FAILED)
        return ConditionReason.INTERRUPTED if failed is None or failed.reason is not ConditionReason.CANCELLED else ConditionReason.CANCELLED
    if draft.policy.cancel:
        return ConditionReason.CANCELLED
    return ConditionReason.SUSPENDED if draft.policy.suspend else None


def why_stop(draft: Draft, attempt: Attempt, job: Job) -> Waiting | None:
    """The reason to stop a live attempt, and the sentence that says so; None to let it go on."""
    if reason := owner_stops(draft, attempt):
        return _stops(draft, attempt, reason, MEANINGS[reason])
    if attempt.stage in WORK and deadline_passed(draft, attempt):
        return _stops(draft, attempt, ConditionReason.DEADLINE_EXCEEDED, MEANINGS[ConditionReason.DEADLINE_EXCEEDED])
    begun = max(filter(None, (job.started, attempt.starting_time)), default=None)
    if not job.suspended and attempt.running_time is None and job.started and begun and draft.passed(begun, draft.policy.scheduling_timeout_seconds):
        return _stops(draft, attempt, ConditionReason.SCHEDULING_TIMEOUT, MEANINGS[ConditionReason.SCHEDULING_TIMEOUT])
    since = still_since(draft, attempt) if attempt.stage is Stage.TRAIN else None
    if since and draft.passed(since, draft.policy.stall_timeout_seconds):
        return _stops(draft, attempt, ConditionReason.STALLED, _standstill(draft, attempt))
    return None


def deadline_passed(draft: Draft, attempt: Attempt | None = None) -> bool:
    """Whether all attempts together, the open one with them, took as long as they may."""
    if draft.policy.active_deadline_seconds is None:
        return False
    left = draft.policy.active_deadline_seconds - draft.status.active_seconds
    if attempt is None or attempt.running_time is None:
        return left <= 0
    return draft.passed(attempt.running_time, left)


def slow_pod(draft: Draft, reason: ConditionReason) -> tuple[int | None, str | None]:
    """Index and node of the pod that an attempt is stopped for; only a stall has one."""
    rank = slowest(draft) if reason is ConditionReason.STALLED else None
    index = pod_of_rank(draft, rank.rank) if rank else None
    return index, next((pod.node for pod in draft.seen.pods if pod.index == index and pod.node and not pod.ended), None)


def _stops(draft: Draft, attempt: Attempt, reason: ConditionReason, why: str) -> Waiting:
    return Waiting(reason, f"{draft.job_name(attempt)} is being stopped ({reason}). {why}")


def _standstill(draft: Draft, attempt: Attempt) -> str:
    """Names the rank that is furthest behind: where one hangs, the others wait for it in a collective."""
    rank, (_, node) = slowest(draft), slow_pod(draft, ConditionReason.STALLED)
    step = draft.status.progress.step if draft.status.progress else 0
    where = f"; the slowest is rank {rank.rank} on node {node or 'unknown'}, at step {rank.step}" if rank else ""
    return f"No training step after step {step} for {draft.policy.stall_timeout_seconds} s{where}. {draft.remedy(ConditionReason.STALLED)}"
