"""News: what a run's stored status says anew, logged and counted once.

Told of whatever is stored, not of writes alone: where a write went through and its answer was lost, the next look finds it done and tells it then.
"""

from __future__ import annotations

from medfinetune_api.conditions import ConditionReason
from medfinetune_api.status import FineTuneStatus

from medfinetune_operator.logs import say
from medfinetune_operator.metrics import Counters
from medfinetune_operator.run import Run
from medfinetune_operator.workqueue import Key


class News:
    """Remembers the status of each run that was told last. What a run says when it is first seen is no news: another process has told it."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._told: dict[Key, tuple[str, FineTuneStatus]] = {}

    def tell(self, run: Run, status: FineTuneStatus) -> None:
        """Tell what `status`, which is stored, says beyond what was told before."""
        key, uid = (run.namespace, run.name), run.identity.uid
        of, told = self._told.get(key, ("", run.status))
        told = told if of == uid else run.status
        self._told[key] = (uid, status)
        self._tell_endings(run, told, status)
        if status.phase != told.phase:
            say("phase", namespace=run.namespace, run=run.name, phase=status.phase)

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a run that is gone."""
        self._told.pop(key, None)

    def _tell_endings(self, run: Run, told: FineTuneStatus, status: FineTuneStatus) -> None:
        known = {(attempt.stage, attempt.number) for attempt in told.attempts if attempt.end_time}
        for attempt in status.attempts:
            if attempt.end_time and (attempt.stage, attempt.number) not in known:
                reason = attempt.reason or ConditionReason.EVIDENCE_LOST
                self._counters.attempts.labels(attempt.stage, reason).inc()
                say("attempt ended", namespace=run.namespace, run=run.name, stage=attempt.stage, attempt=attempt.number, reason=reason, node=attempt.node)
