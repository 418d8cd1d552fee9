"""Draft: a decision in the making. The rules of reconcile read the run and what is seen, change the status here, and ask for effects here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason, ConditionStatus, ConditionType
from medfinetune_api.objects import job_name
from medfinetune_api.spec_pods import RunPolicySpec
from medfinetune_api.status import Attempt, Condition, FineTuneStatus

from medfinetune_operator.conditions import MESSAGE_LENGTH, STAGE_CONDITION, condition, is_true, with_condition
from medfinetune_operator.decision import Decision, Note
from medfinetune_operator.observation import Child, Job, Observation, Pod
from medfinetune_operator.run import Run
from medfinetune_operator.sentences import TROUBLES, remedy
from medfinetune_operator.settings import Settings

LOOK_AGAIN_SECONDS = 15.0
"""Until the next look while something is awaited that no event may tell."""


class Waiting(NamedTuple):
    """Why something does not go on yet."""

    reason: ConditionReason
    message: str


@dataclass
class Draft:
    """One look at one run; `run.status` is the status as it becomes."""

    run: Run
    seen: Observation
    now: datetime
    settings: Settings
    stop: list[Job] = field(default_factory=list)
    make: tuple[Child, ...] = ()
    start: Attempt | None = None
    remove_children: bool = False
    notes: list[Note] = field(default_factory=list)
    again: float | None = None

    @property
    def status(self) -> FineTuneStatus:
        """The status so far."""
        return self.run.status

    @property
    def stamp(self) -> datetime:
        """Now, as Kubernetes writes times: whole seconds."""
        return self.now.replace(microsecond=0)

    @property
    def policy(self) -> RunPolicySpec:
        """spec.runPolicy; the defaults where the spec cannot be read."""
        return self.run.spec.run_policy if self.run.spec else RunPolicySpec()

    def decision(self, notes: list[Note]) -> Decision:
        """What is wanted now, with the events of the whole way here."""
        return Decision(self.status, tuple(self.stop), self.make, self.start, self.remove_children, tuple(notes), self.again)

    # status

    def update(self, **fields: Any) -> None:
        """Set fields of the status."""
        self.run = replace(self.run, status=self.status.model_copy(update=fields))

    def replace_attempt(self, old: Attempt, **fields: Any) -> Attempt:
        """Set fields of one attempt."""
        new = old.model_copy(update=fields)
        self.update(attempts=tuple(new if each is old else each for each in self.status.attempts))
        return new

    def set_condition(self, kind: ConditionType, true: bool, reason: ConditionReason, message: str) -> None:
        """Set one condition, as of now and of the present generation."""
        wanted = Condition(
            type=kind,
            status=ConditionStatus.TRUE if true else ConditionStatus.FALSE,
            reason=reason,
            message=message[:MESSAGE_LENGTH],
            last_transition_time=self.stamp,
            observed_generation=self.run.generation,
        )
        self.run = replace(self.run, status=with_condition(self.status, wanted))

    def stage_waits(self, stage: Stage, waiting: Waiting) -> None:
        """Say why `stage` is not complete; a trouble that is new is an event. A stage that is complete stays so; nothing waits for the release of a
        run that is not in quarantine.
        """
        before = condition(self.status, STAGE_CONDITION[stage])
        if is_true(self.status, STAGE_CONDITION[stage]) or (stage is Stage.RELEASE and not is_true(self.status, ConditionType.QUARANTINED)):
            return
        if waiting.reason in TROUBLES and (before is None or before.reason is not waiting.reason):
            self.note(waiting.reason, waiting.message, warning=True)
        self.set_condition(STAGE_CONDITION[stage], False, waiting.reason, waiting.message)

    # effects

    def note(self, reason: ConditionReason, message: str, *, warning: bool = False) -> None:
        """An event."""
        self.notes.append(Note(reason, message[:MESSAGE_LENGTH], warning))

    def look_in(self, seconds: float) -> None:
        """Look again after so many seconds at the latest."""
        self.again = seconds if self.again is None else min(self.again, seconds)

    def reached(self, moment: datetime) -> bool:
        """Whether `moment` has come; if not, look again then."""
        left = (moment - self.now).total_seconds()
        if left > 0:
            self.look_in(left)
        return left <= 0

    def passed(self, since: datetime, seconds: float) -> bool:
        """Whether `seconds` have passed since a time; if not, look again then."""
        return self.reached(since + timedelta(seconds=seconds))

    # reading

    def job(self, attempt: Attempt) -> Job | None:
        """The Job of an attempt, where it exists and is the run's own."""
        job = self.seen.job(attempt.stage, attempt.number)
        return job if job and job.owned else None

    def pods(self, attempt: Attempt) -> tuple[Pod, ...]:
        """The pods of an attempt."""
        return self.seen.pods_of(attempt.stage, attempt.number)

    def job_name(self, attempt: Attempt) -> str:
        """Name of an attempt's Job."""
        return job_name(self.run.name, attempt.stage, attempt.number)

    def remedy(self, reason: ConditionReason) -> str:
        """What a person can do about a reason, with the run's names in it."""
        claim = self.run.claim if self.run.spec else "of the output"
        return remedy(reason, run=self.run.name, folder=self.run.identity.folder, claim=claim)
