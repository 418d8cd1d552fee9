"""Which pods of a run are meant: those of its newest attempt, or those that a person names."""

from __future__ import annotations

from dataclasses import dataclass

from medfinetune_api.choices import WORK, Stage
from medfinetune_api.objects import ATTEMPT_LABEL, CONTAINER, INDEX_LABEL, STAGE_LABEL, UID_LABEL

from medfinetune_cli.cluster_client import Cluster, Object
from medfinetune_cli.run_state import RunState


@dataclass(frozen=True)
class Wanted:
    """Which pods; None means any."""

    stage: Stage | None = None
    attempt: int | None = None
    rank: int | None = None

    def includes(self, pod: LogPod) -> bool:
        """Whether it means that pod. The purge only by its name: what it writes is not the run's work."""
        asked = ((self.stage, pod.stage), (self.attempt, pod.attempt), (self.rank, pod.rank))
        return all(wanted in (None, found) for wanted, found in asked) and (pod.stage in WORK or self.stage is pod.stage)


@dataclass(frozen=True)
class LogPod:
    """One pod with what its labels say."""

    name: str
    stage: Stage
    attempt: int
    rank: int
    started: bool
    """Whether its container runs or has run: there is a log."""
    ended: bool

    @classmethod
    def of(cls, pod: Object) -> LogPod:
        """From its JSON, which has the operator's labels."""
        meta, labels, status = pod["metadata"], pod["metadata"]["labels"], pod.get("status", {})
        states = [one.get("state", {}) for one in status.get("containerStatuses") or () if one["name"] == CONTAINER]
        return cls(
            name=meta["name"],
            stage=Stage(labels[STAGE_LABEL]),
            attempt=int(labels[ATTEMPT_LABEL]),
            rank=int(labels.get(INDEX_LABEL, "0")),
            started=any(state.keys() & {"running", "terminated"} for state in states),
            ended=status.get("phase") in ("Succeeded", "Failed"),
        )

    @property
    def label(self) -> str:
        """What its lines begin with."""
        return f"{self.stage}-a{self.attempt} rank {self.rank}"


def pods_of(cluster: Cluster, run: RunState, wanted: Wanted, *, later: bool = False) -> list[LogPod]:
    """The pods that are meant, by stage, attempt and rank. Without an attempt in `wanted` those of the newest one; with `later` those of every one."""
    found = [LogPod.of(pod) for pod in cluster.pods(f"{UID_LABEL}={run.identity.uid},{STAGE_LABEL},{ATTEMPT_LABEL}")]
    pods = sorted((pod for pod in found if wanted.includes(pod)), key=lambda pod: (list(Stage).index(pod.stage), pod.attempt, pod.rank))
    if later or wanted.attempt is not None:
        return pods
    newest = _newest(run, wanted, pods)
    return [pod for pod in pods if (pod.stage, pod.attempt) == newest]


def _newest(run: RunState, wanted: Wanted, pods: list[LogPod]) -> tuple[Stage, int] | None:
    """Stage and number of the newest attempt: the status knows it before there are pods; without a status the pods do."""
    known = [(one.stage, one.number) for one in run.status.attempts if one.stage is wanted.stage or (wanted.stage is None and one.stage in WORK)]
    known = known or [(pod.stage, pod.attempt) for pod in pods]
    return known[-1] if known else None
