"""Observer: one run's Observation, from the cache and from the few questions that only a live answer settles."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason
from medfinetune_api.objects import UID_LABEL, job_name
from medfinetune_api.plan import RunPlan
from medfinetune_api.status import Attempt

from medfinetune_operator.cache import Cache, Json
from medfinetune_operator.client import Api
from medfinetune_operator.cluster import Cluster
from medfinetune_operator.kinds import Kind, kind_of
from medfinetune_operator.observation import Child, Job, Observation, Pod, PodPhase, Refusal, Report
from medfinetune_operator.observe import claim_names, claims_of, jobs_of, pods_of
from medfinetune_operator.refusals import trouble_of
from medfinetune_operator.reports import Reports
from medfinetune_operator.resources.children import APPLIED, child
from medfinetune_operator.run import Run
from medfinetune_operator.settings import Settings
from medfinetune_operator.workqueue import Key, WorkQueue

PATIENCE = 3.0
"""Seconds that a Job's pods may be missing before its Events are asked why, and the wait doubles from question to question up to LONGEST_PATIENCE."""
LONGEST_PATIENCE = 60.0


@dataclass
class _Missing:
    """A Job that lacks pods."""

    wait: float
    due: float
    trouble: ConditionReason | None = None


class Observer:
    """Looks at runs. `queue` is told when a question has to be asked again though nothing happened."""

    def __init__(self, cluster: Cluster, settings: Settings, queue: WorkQueue, reports: Reports) -> None:
        self._cluster, self._settings, self._queue, self._reports = cluster, settings, queue, reports
        self._expected: dict[Key, tuple[str, dict[Child, tuple[Kind, str, str | None]]]] = {}
        self._missing: dict[str, _Missing] = {}

    @property
    def _cache(self) -> Cache:
        return self._cluster.cache

    @property
    def _api(self) -> Api:
        return self._cluster.api

    async def observe(self, run: Run, refusal: Refusal | None) -> Observation:
        """The run as the cluster shows it now. Raises ApiError or Unreachable where a question gets no answer."""
        key = (run.namespace, run.name)
        await self._confirm_absence(run)
        pods = pods_of(run, self._cache.of_run(Kind.POD, key))
        jobs = tuple([await self._with_trouble(key, job, pods) for job in jobs_of(run, self._cache.of_run(Kind.JOB, key))])
        return Observation(
            jobs=jobs,
            pods=pods,
            claims=claims_of(run, {name: self._cache.named(Kind.CLAIM, run.namespace, name) for name in claim_names(run).values()}),
            children=frozenset(each for each, expected in self._children(run).items() if self._stands(run, *expected)),
            reports=self._heard(run, pods),
            refusal=refusal,
            older_waiting=sum(_waits(body) and _before(body, run) for body in self._cache.runs()) if run.status.delays else 0,
        )

    def forget(self, run: Key) -> None:
        """Drop what is remembered of a run that is gone."""
        self._expected.pop(run, None)
        self._reports.forget(run)

    async def _confirm_absence(self, run: Run) -> None:
        """An attempt whose Job is gone has failed, and is charged: before that is believed the API server itself is asked."""
        attempt = _open(run)
        if attempt and attempt.job_uid:
            name = job_name(run.name, Stage(attempt.stage), attempt.number)
            known = self._cache.named(Kind.JOB, run.namespace, name)
            if known is None or known["metadata"]["uid"] != attempt.job_uid:
                await self._cluster.refresh(Kind.JOB, run.namespace, name)

    async def _with_trouble(self, key: Key, job: Job, pods: Sequence[Pod]) -> Job:
        """The Job, with what keeps its pods from being created: only its Events tell."""
        there = sum((pod.stage, pod.attempt) == (job.stage, job.number) for pod in pods)
        if not job.live or job.suspended or job.deleting or there >= job.pods_wanted:
            self._missing.pop(job.uid, None)
            return job
        now = time.monotonic()
        missing = self._missing.setdefault(job.uid, _Missing(PATIENCE, now + PATIENCE))
        if now >= missing.due:
            missing.trouble = await self._trouble(key[0], job)
            missing.wait = min(missing.wait * 2, LONGEST_PATIENCE)
            missing.due = now + missing.wait
        self._queue.add_after(key, missing.due - now)
        return replace(job, trouble=missing.trouble)

    async def _trouble(self, namespace: str, job: Job) -> ConditionReason | None:
        events, _ = await self._api.list(Kind.EVENT, namespace, fields=f"involvedObject.uid={job.uid},reason=FailedCreate")
        newest = max(events, key=lambda event: event.get("lastTimestamp") or "", default=None)
        return trouble_of(newest.get("message") or "") if newest else None

    def _heard(self, run: Run, pods: Sequence[Pod]) -> tuple[Report, ...]:
        attempt, key = _open(run), (run.namespace, run.name)
        if attempt is None or attempt.stage != Stage.TRAIN:
            self._reports.forget(key)
            return ()
        gang = [pod for pod in pods if (pod.stage, pod.attempt) == (attempt.stage, attempt.number)]
        running = [pod for pod in gang if pod.phase is PodPhase.RUNNING and pod.address and pod.deletion is None]
        if not running:
            return ()
        reports, again = self._reports.of(key, sorted(running, key=lambda pod: pod.index))
        self._queue.add_after(key, again)
        return reports

    def _children(self, run: Run) -> dict[Child, tuple[Kind, str, str | None]]:
        """Kind, name and stamp of each child that the run should have; built once for each generation."""
        key, of = (run.namespace, run.name), f"{run.identity.uid}/{run.generation}"
        known = self._expected.get(key)
        if known is None or known[0] != of:
            known = self._expected[key] = (of, dict(self._expectations(run)))
        return known[1]

    def _expectations(self, run: Run) -> list[tuple[Child, tuple[Kind, str, str | None]]]:
        if run.spec is None or not isinstance(run.plan, RunPlan):
            return []
        wanted = [Child.PLAN, Child.POLICY, Child.SERVICE] + ([Child.CLAIM] if run.spec.output.volume.claim_template else [])
        manifests = [(each, child(each, run, self._settings)) for each in wanted]
        return [(each, (kind_of(body), body["metadata"]["name"], body["metadata"].get("annotations", {}).get(APPLIED))) for each, body in manifests]

    def _stands(self, run: Run, kind: Kind, name: str, stamp: str | None) -> bool:
        meta = (self._cache.named(kind, run.namespace, name) or {}).get("metadata", {})
        own = (meta.get("labels") or {}).get(UID_LABEL) == run.identity.uid
        return own and stamp == (meta.get("annotations") or {}).get(APPLIED)


def _open(run: Run) -> Attempt | None:
    """The attempt that has not ended, if any: the newest of those."""
    return next((attempt for attempt in reversed(run.status.attempts) if attempt.end_time is None), None)


def _waits(body: Json) -> bool:
    """Whether a run gave its GPUs back and queues for them."""
    status = body.get("status") or {}
    live = any("endTime" not in attempt for attempt in status.get("attempts") or ())
    return bool(status.get("delays")) and not live and "completionTime" not in status


def _before(body: Json, run: Run) -> bool:
    meta = body["metadata"]
    return (meta["creationTimestamp"], meta["uid"]) < (run.created.strftime("%Y-%m-%dT%H:%M:%SZ"), run.identity.uid)
