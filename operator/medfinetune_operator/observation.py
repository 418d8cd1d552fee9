"""Observation: everything of one run that the cluster shows, typed. Made by `observe.py` from Kubernetes' objects, read by `reconcile.py`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from medfinetune_api.choices import AccessMode, Stage
from medfinetune_api.conditions import ConditionReason
from medfinetune_api.results import StageResult


class Child(StrEnum):
    """What a run owns besides its Jobs."""

    PLAN = "plan"
    """The RunPlan as an immutable ConfigMap."""
    POLICY = "policy"
    """The NetworkPolicy."""
    SERVICE = "service"
    """The headless Service of the gang."""
    CLAIM = "claim"
    """The output claim, where the spec has a template; the run does not own it: results outlive the run."""


class PodPhase(StrEnum):
    """Kubernetes' own."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class Pod:
    """One pod of the run."""

    name: str
    uid: str
    stage: Stage
    attempt: int
    index: int
    phase: PodPhase
    node: str | None = None
    address: str | None = None
    exit_code: int | None = None
    """Of its container, once that has ended."""
    oom_killed: bool = False
    disrupted: bool = False
    """Condition DisruptionTarget is true: evicted, drained, preempted or deleted."""
    result: StageResult | None = None
    """Its termination message, where it left one that can be read."""
    deletion: datetime | None = None
    """When Kubernetes should be done with it (deletionTimestamp, grace included); None while nobody asked it to go."""
    trouble: ConditionReason | None = None
    """ImagePullFailed or Unschedulable, while that keeps it from running."""

    @property
    def ended(self) -> bool:
        """True once it can no longer write or hold a GPU."""
        return self.phase in (PodPhase.SUCCEEDED, PodPhase.FAILED)


@dataclass(frozen=True)
class Job:
    """One Job of the run: an attempt."""

    name: str
    uid: str
    stage: Stage
    number: int
    pods_wanted: int
    created: datetime
    started: datetime | None = None
    """Last time it was not suspended and began (status.startTime); None where it never did."""
    suspended: bool = False
    """Held back by Kueue."""
    deleting: bool = False
    complete: bool = False
    """Condition Complete: every index has succeeded."""
    failed: bool = False
    """Condition Failed, not FailureTarget: every pod has ended."""
    owned: bool = True
    """False where another run, or nobody, owns an object of this name."""
    trouble: ConditionReason | None = None
    """QuotaExceeded or AdmissionRefused, where its pods cannot be created."""

    @property
    def live(self) -> bool:
        """True while it may have running pods, or make some."""
        return not (self.complete or self.failed)


@dataclass(frozen=True)
class Claim:
    """A PersistentVolumeClaim that the spec names; `phase` is None where it does not exist."""

    field: str
    """Field of the spec that names it."""
    name: str
    phase: str | None
    access_modes: tuple[AccessMode | str, ...] = ()


@dataclass(frozen=True)
class RankStep:
    """How far one rank is."""

    rank: int
    step: int
    as_of: datetime | None


@dataclass(frozen=True)
class Report:
    """What one pod of the training gang says at `/status`. Advisory."""

    index: int
    step: int
    total_steps: int
    as_of: datetime
    resume_step: int | None = None
    loss: float | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None
    peak_vram_bytes: int | None = None
    ranks: tuple[RankStep, ...] = ()


class Refusal(NamedTuple):
    """How the API server refused an object of the run: QuotaExceeded, AdmissionRefused, ObjectInvalid or NameTaken."""

    reason: ConditionReason
    fields: tuple[str, ...] = ()
    """Of ObjectInvalid: paths in the object."""


@dataclass(frozen=True)
class Observation:
    """One run, as the cluster shows it at one moment."""

    jobs: tuple[Job, ...] = ()
    pods: tuple[Pod, ...] = ()
    """Every pod with the run's uid label, whether its Job still exists or not."""
    claims: tuple[Claim, ...] = ()
    children: frozenset[Child] = frozenset()
    """Those that exist as they should."""
    reports: tuple[Report, ...] = ()
    """Of the live training gang, those that answered at the last look."""
    refusal: Refusal | None = None
    """How the API server refused the operator's last write for this run; None after one that went through."""
    older_waiting: int = 0
    """Runs that are older and wait for GPUs too (`delays` above 0, no live attempt)."""

    def job(self, stage: Stage, number: int) -> Job | None:
        """The Job of an attempt, where there is one."""
        return next((job for job in self.jobs if (job.stage, job.number) == (stage, number)), None)

    def pods_of(self, stage: Stage, number: int) -> tuple[Pod, ...]:
        """The pods of an attempt, lowest index first."""
        return tuple(sorted((pod for pod in self.pods if (pod.stage, pod.attempt) == (stage, number)), key=lambda pod: pod.index))
