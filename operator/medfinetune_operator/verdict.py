"""How an attempt ended, judged over all ranks: what each pod's ending says alone, and which of them decides.

The first to die is often not the cause: a rank that is drained takes the others with it, and Kubernetes blames whichever it counts first. So each pod's ending
is written down when it is seen, and all are judged once the Job has ended: a disruption before memory, memory before the trainer's own word, that before a
crash, and last what merely follows from another rank's failure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from medfinetune_api.conditions import ConditionReason as Reason
from medfinetune_api.exits import EXITS, Exit, exit_of
from medfinetune_api.scalars import ENTRIES
from medfinetune_api.status import PodEnding

from medfinetune_operator.observation import Pod, PodPhase

_EXIT_OF: dict[Reason, Exit] = {Reason(meaning.reason): code for code, meaning in EXITS.items()}


class Fate(NamedTuple):
    """What follows from an ending that only a cluster knows; the others are in the exit table."""

    retryable: bool
    charged: bool


_FATES: dict[Reason, Fate] = {
    Reason.DISRUPTED: Fate(True, False),
    Reason.EVIDENCE_LOST: Fate(True, True),
    Reason.SCHEDULING_TIMEOUT: Fate(True, False),
    Reason.SUSPENDED: Fate(True, False),
    Reason.CANCELLED: Fate(False, False),
    Reason.DEADLINE_EXCEEDED: Fate(False, False),
}


@dataclass(frozen=True)
class Verdict:
    """How an attempt ended, and whose word that is."""

    reason: Reason
    exit_code: Exit | None = None
    index: int | None = None
    node: str | None = None


HIGHEST_INDEX = 4095
"""Of a pod that can be one of ours; a label says it."""
LOST = Verdict(Reason.EVIDENCE_LOST)


def fate(reason: Reason) -> Fate:
    """Whether another attempt may succeed after one that ended so, and whether that one counts against maxRestarts."""
    if reason in _FATES:
        return _FATES[reason]
    meaning = EXITS[_EXIT_OF[reason]]
    return Fate(meaning.retryable, meaning.charged)


def with_endings(endings: tuple[PodEnding, ...], pods: Iterable[Pod]) -> tuple[PodEnding, ...]:
    """The endings written down so far and those of `pods`: the most decisive of each index, at most 64 in all."""
    best = {each.index: each for each in endings}
    for ending in filter(None, map(_ending, pods)):
        best[ending.index] = min(best.get(ending.index, ending), ending, key=lambda each: (_rank(each), each.exit_code or 0))
    decisive = sorted(best.values(), key=lambda each: (_rank(each), each.index))[:ENTRIES]
    return tuple(sorted(decisive, key=lambda each: each.index))


def judge(endings: tuple[PodEnding, ...], pods: tuple[Pod, ...], wanted: int) -> Verdict:
    """The verdict over all ranks of a Job that failed or is gone. `wanted` is its number of pods.

    That a rank was interrupted explains nothing while the ending of another is unknown: somebody had to ask it to stop.
    """
    found = with_endings(endings, pods)
    if not found:
        return LOST
    decisive = min(found, key=lambda each: (_rank(each), each.index))
    known = {each.index for each in found} | {pod.index for pod in pods if pod.phase is PodPhase.SUCCEEDED}
    if decisive.reason is Reason.INTERRUPTED and len(known) < wanted:
        return LOST
    return Verdict(decisive.reason, _EXIT_OF.get(decisive.reason), decisive.index, decisive.node)


def _ending(pod: Pod) -> PodEnding | None:
    """How a pod ended, as it alone tells; None while it lives, or where it succeeded.

    A disruption is known before the pod has ended, and may be all that is ever seen of it.
    """
    if pod.index > HIGHEST_INDEX:
        return None
    code = pod.exit_code if pod.exit_code is not None and 0 <= pod.exit_code <= 255 else None
    if pod.disrupted and pod.phase is not PodPhase.SUCCEEDED:
        reason = Reason.DISRUPTED
    elif pod.phase is not PodPhase.FAILED:
        return None
    elif pod.oom_killed:
        reason = Reason.HOST_OUT_OF_MEMORY
    elif code is None:  # its container never ran: the node refused it, or was lost with it
        reason = Reason.DISRUPTED
    else:
        reason = Reason(EXITS[exit_of(code or Exit.INTERNAL_ERROR)].reason)
    return PodEnding(index=pod.index, reason=reason, exit_code=code, node=pod.node)


_RANKS = {Reason.DISRUPTED: 0, Reason.HOST_OUT_OF_MEMORY: 1, Reason.INTERNAL_ERROR: 3, Reason.GANG_LOST: 4, Reason.INTERRUPTED: 5}


def _rank(ending: PodEnding) -> int:
    """0 decides first. A code of the exit table that names a cause is 2; one that follows from another's failure (`exits.FOLLOWING`) comes after any cause."""
    return _RANKS.get(ending.reason, 2)
