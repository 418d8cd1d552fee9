"""After an attempt that failed: whether there is another, when, and with which micro-batch."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from itertools import takewhile

from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason
from medfinetune_api.plan import RunPlan
from medfinetune_api.status import Attempt

from medfinetune_operator.attempts import MAX_NUMBER, attempts_of
from medfinetune_operator.draft import Draft
from medfinetune_operator.verdict import fate

LONGEST_WAIT = 360.0
"""Seconds: what a wait grows to, as Kubernetes' Jobs do."""
AT_ONCE = (ConditionReason.SUCCEEDED, ConditionReason.SUSPENDED)
"""Endings after which the next attempt has nothing to wait for."""


def is_final(draft: Draft, last: Attempt) -> bool:
    """Whether the stage fails with its last attempt: no retry helps, all are used, or there is no smaller micro-batch."""
    reason = last.reason or ConditionReason.EVIDENCE_LOST
    if not fate(reason).retryable or last.number >= MAX_NUMBER:
        return True
    if reason is ConditionReason.OUT_OF_MEMORY and last.stage is Stage.TRAIN and _micro_batch(draft, last) == 1:
        return True
    return last.charged and draft.status.restarts > draft.policy.max_restarts


def next_micro_batch(draft: Draft, last: Attempt | None) -> int | None:
    """The override for the attempt after `last`: half the rows that did not fit, else what the last one had. One row where it is not known what did not fit."""
    if last is None or last.stage is not Stage.TRAIN or last.reason is not ConditionReason.OUT_OF_MEMORY:
        return last.micro_batch if last else None
    return max(1, (_micro_batch(draft, last) or 1) // 2)


def next_start(draft: Draft, last: Attempt) -> datetime:
    """When the attempt after `last` may begin. Jitter, the same at every look, keeps runs apart that failed at the same moment."""
    if last.end_time is None or last.reason in AT_ONCE:
        return draft.now
    if last.reason is ConditionReason.SCHEDULING_TIMEOUT:
        seconds = _grown(draft.settings.queue_seconds, draft.status.delays) * (1 + draft.seen.older_waiting)
    else:
        seconds = _grown(draft.settings.backoff_seconds, draft.status.restarts if last.charged else _in_a_row(draft, last.stage))
    return last.end_time + timedelta(seconds=seconds * (1 + _jitter(draft, last) / 2))


def _micro_batch(draft: Draft, last: Attempt) -> int | None:
    """Rows that were in effect; None where prepare's message was lost and the plan left it to prepare."""
    prepared, plan = draft.status.prepared, draft.run.plan
    if last.micro_batch or (prepared and prepared.total_steps):
        return last.micro_batch or (prepared.micro_batch if prepared else None)
    planned = plan.training.micro_batch if isinstance(plan, RunPlan) else "Auto"
    return None if planned == "Auto" else planned


def _grown(seconds: float, times: int) -> float:
    """Doubled for each time after the first, to the longest wait."""
    return min(seconds * 2.0 ** min(max(times - 1, 0), 16), max(seconds, LONGEST_WAIT))


def _in_a_row(draft: Draft, stage: Stage) -> int:
    """Attempts of a stage that ended, the last ones, without one that its owner stopped."""
    return len(list(takewhile(lambda each: each.reason not in AT_ONCE, reversed(attempts_of(draft.status, stage)))))


def _jitter(draft: Draft, last: Attempt) -> float:
    """0 to 1, from the run's uid and the attempt."""
    digest = hashlib.sha256(f"{draft.run.identity.uid}/{last.stage}/{last.number}".encode()).digest()
    return int.from_bytes(digest[:4]) / 2**32
