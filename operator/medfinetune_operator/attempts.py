"""Attempts in status: which are open, how they are numbered, and what is written down of them while they live."""

from __future__ import annotations

from itertools import groupby

from medfinetune_api.choices import WORK, Stage
from medfinetune_api.scalars import ENTRIES
from medfinetune_api.status import Attempt, FineTuneStatus

from medfinetune_operator.draft import Draft
from medfinetune_operator.observation import Job, Pod, PodPhase
from medfinetune_operator.verdict import with_endings

MAX_NUMBER = 9999
"""Highest number that an attempt can have."""
ORDER = tuple(Stage)


def open_attempts(status: FineTuneStatus) -> tuple[Attempt, ...]:
    """Those whose ending has not been classified; at most one, but where Jobs were adopted."""
    return tuple(each for each in status.attempts if each.end_time is None)


def attempts_of(status: FineTuneStatus, stage: Stage) -> tuple[Attempt, ...]:
    """The attempts of a stage that status still holds, oldest first."""
    return tuple(each for each in status.attempts if each.stage is stage)


def last_attempt(status: FineTuneStatus, stage: Stage) -> Attempt | None:
    """The newest attempt of a stage."""
    return max(attempts_of(status, stage), key=lambda each: each.number, default=None)


def next_number(status: FineTuneStatus, stage: Stage) -> int:
    """One above every number of the stage; its Jobs are in status too, for they are adopted first."""
    last = last_attempt(status, stage)
    return last.number + 1 if last else 1


def add_attempt(draft: Draft, attempt: Attempt) -> None:
    """Append an attempt. Where there are too many the oldest go, but never an open one or the newest of a stage: its number and override go on."""
    attempts = (*draft.status.attempts, attempt)
    newest = {key: max(group, key=lambda each: each.number) for key, group in groupby(sorted(attempts, key=_by_stage), key=lambda each: each.stage)}
    droppable = [each for each in attempts if each.end_time and each is not newest[each.stage]][: max(0, len(attempts) - ENTRIES)]
    kept = tuple(each for each in attempts if not any(each is one for one in droppable))
    draft.update(attempts=kept, start_time=draft.status.start_time or attempt.start_time)


def adopt(draft: Draft) -> None:
    """Write down Jobs that status does not know, oldest first: it was restored or lost, and no other is to be started beside them."""
    for job in sorted(draft.seen.jobs, key=lambda job: (ORDER.index(job.stage), job.number)):
        last = last_attempt(draft.status, job.stage)
        if job.owned and job.number <= MAX_NUMBER and job.number > (last.number if last else 0):
            add_attempt(draft, Attempt(stage=job.stage, number=job.number, start_time=job.created, job_uid=job.uid))


def follow(draft: Draft) -> None:
    """Write down what is seen of each open attempt: its Job, the pods that failed, and since when all of them run."""
    for attempt in open_attempts(draft.status):
        job = draft.job(attempt)
        fields: dict[str, object] = {"job_uid": attempt.job_uid or (job.uid if job else None)}
        if job and job.suspended:
            _rests(draft, attempt)
            fields |= {"running_time": None, "endings": ()}
        else:
            running = _running_time(draft, attempt, job)
            if attempt.running_time and running is None and job and job.started and attempt.running_time >= job.started:
                _rests(draft, attempt)
                fields["starting_time"] = draft.stamp
            elif running:
                fields["starting_time"] = None
            fields |= {"running_time": running, "endings": with_endings(attempt.endings, draft.pods(attempt))}
        if any(getattr(attempt, name) != value for name, value in fields.items()):
            attempt = draft.replace_attempt(attempt, **fields)
        if attempt.running_time and attempt.stage in WORK and draft.status.delays:
            draft.update(delays=0)


def active_seconds(draft: Draft, attempt: Attempt) -> int:
    """Seconds that the open attempt has been at work: since all its pods ran, and until it was asked to stop."""
    if attempt.running_time is None or attempt.stopping:
        return 0
    return max(0, round((draft.now - attempt.running_time).total_seconds()))


def all_run(pods: tuple[Pod, ...], wanted: int) -> bool:
    """Whether every index has a pod that runs, or has ended without another in its place."""
    running = {pod.index for pod in pods if pod.phase is PodPhase.RUNNING}
    coming = {pod.index for pod in pods if not pod.ended} - running
    return len({pod.index for pod in pods} - coming) >= wanted


def _by_stage(attempt: Attempt) -> str:
    return attempt.stage


def _rests(draft: Draft, attempt: Attempt) -> None:
    """Kueue took the Job's pods away: what it has worked so far counts, waiting does not."""
    if worked := active_seconds(draft, attempt):
        draft.update(active_seconds=draft.status.active_seconds + worked)


def _running_time(draft: Draft, attempt: Attempt, job: Job | None) -> object:
    """Since when all pods run; counted anew where the Job was begun again since, or a pod that was put in another's place has yet to start."""
    since, pods = attempt.running_time, draft.pods(attempt)
    if attempt.stopping or job is None or job.started is None:
        return since
    if since and since >= job.started and not _replaced(pods):
        return since
    return max(draft.stamp, job.started) if all_run(pods, job.pods_wanted) else None


def _replaced(pods: tuple[Pod, ...]) -> bool:
    """Whether an index has only pods that have not started, beside any that have ended."""
    running = {pod.index for pod in pods if pod.phase is PodPhase.RUNNING}
    return any(pod.phase is PodPhase.PENDING and pod.index not in running for pod in pods)
