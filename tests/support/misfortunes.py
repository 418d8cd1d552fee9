"""What may happen to a run in a little cluster (`histories.py`): as it should go, and as it should not. Each event is one row that Hypothesis draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar

from medfinetune_api.conditions import ConditionReason
from medfinetune_api.exits import Exit
from medfinetune_operator.observation import Job, Pod, PodPhase, Refusal
from support.histories import STEPS, Cluster

SECONDS = (15, 15, 60, 60, 400, 400, 1000, 2000)
REFUSALS = (Refusal(ConditionReason.QUOTA_EXCEEDED), Refusal(ConditionReason.ADMISSION_REFUSED), Refusal(ConditionReason.OBJECT_INVALID, ("spec",)), None, None)
EDITS: tuple[dict[str, Any], ...] = (
    {"suspend": True},
    {"suspend": False},
    {"suspend": True},
    {"suspend": False},
    {"maxRestarts": 99},
    {"maxRestarts": 1},
    {"activeDeadlineSeconds": 20000},
    {"cancel": True},
)


@dataclass(frozen=True)
class Event:
    """One thing that happens; what the figures mean is up to it."""

    what: str
    pick: int
    code: int
    flag: bool
    other: bool


class Misfortunes:
    """The events, by name."""

    WEIGHTS: ClassVar[dict[str, int]] = {
        "goes_well": 3,
        "goes_on": 6,
        "a_pod_ends": 9,
        "operator_is_killed": 3,
        "news_comes": 3,
        "jobs_move": 2,
        "time_passes": 3,
        "half_a_gang": 2,
        "a_pod_is_lost": 3,
        "kueue_moves": 2,
        "a_job_is_deleted": 1,
        "a_job_is_orphaned": 2,
        "owner_hesitates": 2,
        "owner_edits": 2,
        "api_server_refuses": 1,
        "status_is_lost": 1,
    }
    """How often, one to another."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def happens(self, event: Event) -> None:
        """Let it happen."""
        getattr(self, event.what)(event)

    def round(self, start: int = 2, finish: bool = True) -> None:
        """News of everything, one look, Kubernetes one step on; then it is as late as the operator wanted to look again.

        `start` pods of an attempt begin to run, those that run succeed if they are to `finish`, those that were asked to go go.
        """
        cluster = self.cluster
        cluster.tell()
        again = cluster.reconcile().again
        cluster.job_controller()
        for job in [job for job in cluster.jobs.values() if job.suspended and job.live and not job.deleting]:
            cluster.kueue(job, admit=True)
        for pod in [pod for pod in cluster.pods.values() if not pod.ended]:
            if pod.deletion:
                cluster.end_pod(pod, Exit.INTERRUPTED)
            elif pod.phase is PodPhase.PENDING and pod.index < start:
                cluster.pods[pod.name] = replace(pod, phase=PodPhase.RUNNING)
            elif pod.phase is PodPhase.RUNNING and finish:
                cluster.end_pod(pod, 0)
        cluster.now += timedelta(seconds=again or 15)

    # as it should go

    def goes_well(self, event: Event) -> None:
        """Some rounds in which what runs succeeds."""
        for _ in range(1 + event.pick % 3):
            self.round()

    def goes_on(self, event: Event) -> None:
        """Some rounds in which what runs runs on, with or without a step of training."""
        for _ in range(1 + event.pick % 3):
            self.cluster.step = min(STEPS, self.cluster.step + event.flag)
            self.round(finish=False)

    def jobs_move(self, event: Event) -> None:
        """Nobody but the Job controller does anything."""
        self.cluster.job_controller()

    def news_comes(self, event: Event) -> None:
        """Some of the news, and a look perhaps."""
        self.cluster.tell(jobs=event.flag, pods=event.other, children=event.pick % 2 == 0)
        if event.pick < 4:
            self.cluster.reconcile()

    def time_passes(self, event: Event) -> None:
        """And the operator looks, perhaps with steps of training to see."""
        self.cluster.now += timedelta(seconds=SECONDS[event.pick])
        self.cluster.step = min(STEPS, self.cluster.step + 10 * event.flag)
        if event.other:
            self.cluster.reconcile()

    # as it should not

    def operator_is_killed(self, event: Event) -> None:
        """Killed after some effects of a decision; the next one lists everything, later or at once."""
        self.cluster.reconcile(event.pick % 4)
        self.cluster.refused = None
        if event.flag:
            self.cluster.tell()

    def a_pod_ends(self, event: Event) -> None:
        """With some code, out of memory, or disrupted."""
        if pod := self._pod(event, PodPhase.RUNNING):
            how = ({}, {}, {}, {"disrupted": True}, {"oom_killed": True})[event.pick % 5]
            self.cluster.end_pod(pod, event.code, **how)
        if event.flag:
            self.cluster.job_controller()

    def a_pod_is_lost(self, event: Event) -> None:
        """With its node, or without a trace."""
        if (pod := self._pod(event)) is None:
            return
        if event.flag and not pod.ended:
            self.cluster.lose_node(pod)
        else:
            self.cluster.vanish(pod)

    def half_a_gang(self, event: Event) -> None:
        """There is room for one pod only, for a while."""
        for _ in range(4):
            self.round(start=1, finish=False)
        self.cluster.now += timedelta(seconds=SECONDS[event.pick])

    def kueue_moves(self, event: Event) -> None:
        """Admits, or takes away."""
        job = self._job(event)
        if self.cluster.queued and job and job.live and not job.deleting:
            self.cluster.kueue(job, admit=job.suspended)

    def a_job_is_deleted(self, event: Event) -> None:
        """By somebody who should not."""
        if job := self._job(event):
            self.cluster.delete(job.name, job.uid)

    def a_job_is_orphaned(self, event: Event) -> None:
        """By somebody who should not, and whose pods live on; that they do was known before."""
        if job := self._job(event):
            self.cluster.tell()
            del self.cluster.jobs[job.name]

    def owner_hesitates(self, event: Event) -> None:
        """Suspends and resumes faster than news of Jobs comes."""
        for suspend in (True, False):
            self.cluster.reconcile()
            self.cluster.edit(suspend=suspend)
        self.cluster.reconcile()

    def owner_edits(self, event: Event) -> None:
        """runPolicy."""
        self.cluster.edit(**EDITS[event.pick])

    def api_server_refuses(self, event: Event) -> None:
        """From now on, or no more."""
        self.cluster.refusing = REFUSALS[event.pick % len(REFUSALS)]

    def status_is_lost(self, event: Event) -> None:
        """Unless the children may be gone too: then nothing in the cluster remembers the run."""
        if event.pick < 3 and "ttlSecondsAfterFinished" not in self.cluster.policy:
            self.cluster.lose_status()

    def _pod(self, event: Event, phase: PodPhase | None = None) -> Pod | None:
        pods = [pod for pod in self.cluster.pods.values() if phase in (None, pod.phase)]
        return pods[event.pick % len(pods)] if pods else None

    def _job(self, event: Event) -> Job | None:
        jobs = list(self.cluster.jobs.values())
        return jobs[event.pick % len(jobs)] if jobs else None
