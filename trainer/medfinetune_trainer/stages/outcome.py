"""How a rank ended, in a file that its agent reads: exit codes survive the elastic agent, whose own account knows only the first process that it saw die."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch.distributed as dist
from medfinetune_api.choices import Stage
from medfinetune_api.errors import GangLost, Refusal
from medfinetune_api.exits import Exit
from medfinetune_api.results import StageResult

from medfinetune_trainer.artifacts.files import storage_failure
from medfinetune_trainer.optim.fitting import PassTooLarge
from medfinetune_trainer.stages.memory_errors import memory_refusal

STOP = "stop"
"""File in the agent's folder: a stop has been asked for."""

_PEER_GONE = re.compile(
    r"gloo/transport|NCCL|Connection (closed|reset) by peer|Broken pipe|Timed out waiting|recvValue failed|failed to connect", re.IGNORECASE
)
"""What gloo and NCCL say in plain RuntimeErrors when a peer is gone."""


@dataclass(frozen=True)
class Outcome:
    """How one rank ended."""

    rank: int
    exit_code: int
    message: str
    """One sentence, no record text."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    time: float = field(default_factory=time.time)
    """Seconds since 1970."""

    def result(self, stage: Stage) -> StageResult:
        """As the result of the stage."""
        return StageResult.of(stage, Exit(self.exit_code), self.message, self.numbers)

    def write(self, folder: Path) -> None:
        """Leave it in the agent's folder, whole."""
        file = folder / f"outcome-{self.rank:05d}.json"
        temporary = file.with_suffix(".partial")
        temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")
        temporary.replace(file)


def outcomes(folder: Path) -> list[Outcome]:
    """What this node's ranks left, lowest rank first; a killed one leaves nothing."""
    return [Outcome(**json.loads(file.read_text(encoding="utf-8"))) for file in sorted(folder.glob("outcome-*.json"))]


def root_cause(found: list[Outcome]) -> Outcome | None:
    """The failure that explains the others: the first that is not merely the loss of a peer; None where no rank left one."""
    failed = [outcome for outcome in found if outcome.exit_code != Exit.SUCCEEDED]
    return min(failed, key=lambda outcome: (outcome.exit_code == Exit.GANG_LOST, outcome.time), default=None)


def outcome_of(error: BaseException, rank: int, stage: Stage) -> Outcome:
    """What `error` means in the contract; anything unforeseen is an INTERNAL_ERROR, named by its type alone."""
    refusal = error if isinstance(error, Refusal) else _refusal(error, rank, stage)
    if refusal is None:
        return Outcome(rank, Exit.INTERNAL_ERROR, f"{type(error).__qualname__} on rank {rank}; its log holds the stack.")
    return Outcome(rank, refusal.exit, str(refusal), {"micro_batch": float(refusal.rows)} if isinstance(refusal, PassTooLarge) else {})


def _refusal(error: BaseException, rank: int, stage: Stage) -> Refusal | None:
    where = f"rank {rank}"
    if isinstance(error, OSError) and (failure := storage_failure(error, str(error.filename or where))):
        return failure
    if refusal := memory_refusal(error, stage, where):
        return refusal
    if isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and _PEER_GONE.search(str(error))):
        remedy = "Start the stage again; it continues."
        return GangLost(where, found="a peer gone in the middle of a collective", expected="every rank of the gang", remedy=remedy)
    return None
