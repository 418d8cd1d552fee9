"""What each kill left, held against where the next life went on: complete checkpoints that were lost, and steps that were taken again."""

from __future__ import annotations

from dataclasses import dataclass, field

from medfinetune_api.plan import RunPlan
from medfinetune_trainer.artifacts.checkpoint import MANIFEST
from medfinetune_trainer.artifacts.history import read


@dataclass(frozen=True)
class _Death:
    told: int
    """The last step that metrics.jsonl told of."""
    complete: int
    """Step of the newest checkpoint that was complete before the kill."""


@dataclass
class Ledger:
    """The kills of one run."""

    plan: RunPlan
    lost: list[str] = field(default_factory=list)
    """Complete checkpoints that the next life did not continue from."""
    repeated: list[int] = field(default_factory=list)
    """Steps that had to be taken again after each kill."""
    _deaths: list[_Death] = field(default_factory=list)
    """Since a life last began to train."""

    def killed(self, complete: int) -> None:
        """A process was killed when `complete` was the newest complete checkpoint, and all of its gang have ended."""
        told = max((line["step"] for line in read(self.plan.folder.metrics) if line["kind"] == "step"), default=0)
        self._deaths.append(_Death(told, complete))

    def lived(self, began: str) -> None:
        """A life that began at `began` (a time of metrics.jsonl) has ended; where it began to train, that is where it went on from."""
        starts = lines(self.plan, "start", began)
        if not starts:
            return
        resumed = int(starts[0]["step"])
        self.repeated += [max(0, death.told - resumed) for death in self._deaths]
        self.lost += [f"step-{death.complete}" for death in self._deaths if death.complete > resumed]
        self._deaths.clear()


def lines(plan: RunPlan, kind: str, began: str) -> list[dict[str, str]]:
    """What metrics.jsonl tells of one kind since `began`."""
    return [line for line in read(plan.folder.metrics) if line["kind"] == kind and line["time"] >= began]


def newest_complete(plan: RunPlan) -> int:
    """Step of the newest checkpoint that has its name and a manifest; 0 where there is none."""
    return max((int(file.parent.name.removeprefix("step-")) for file in plan.folder.checkpoints.glob(f"step-*/{MANIFEST}")), default=0)
