"""Snapshot: what a rank hands to its node's agent, which serves it. One small file a rank, replaced whole at every step; no locks, no sockets, no shared
memory.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path

STEP_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
"""Upper bounds of the histogram of step times, in seconds."""


@dataclass
class Snapshot:
    """A rank's figures as of its last step. None stands for what has not been measured yet."""

    rank: int
    world_size: int
    steps_planned: int
    packing_efficiency: float
    as_of: str = ""
    resume_step: int = 0
    """Optimizer steps that were done when this attempt began."""
    step: int = 0
    """Last completed optimizer step."""
    tokens: int = 0
    """Tokens the gang has trained on in this attempt."""
    loss: float | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    tokens_per_second: float | None = None
    """Of the gang, in the last step."""
    seconds_left: float | None = None
    micro_batch: int | None = None
    """Rows in one forward pass of one rank."""
    out_of_memory: int = 0
    """How often the accelerator's memory ran out in this run, and the micro-batch was halved."""
    step_seconds: float = 0.0
    """Sum of the times of this attempt's steps."""
    step_seconds_counts: list[int] = field(default_factory=lambda: [0] * (len(STEP_SECONDS) + 1))
    """Steps by the bound they fall under; the last entry counts those above all bounds."""
    validation: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By language: loss, perplexity, accuracy."""
    memory: Mapping[str, int] = field(default_factory=dict)
    """Bytes by name, as `Memory.sample` names them."""
    safe_since: float | None = None
    """When, in seconds since 1970, the newest complete checkpoint was begun, or else this attempt: what was trained later would be lost with the gang."""
    volume: Mapping[str, int] = field(default_factory=dict)
    """Of the output volume: bytes `size` and `free`, as this rank last saw them."""

    @property
    def progress(self) -> float:
        """Share of the planned steps that are done, 0 to 1."""
        return self.step / self.steps_planned if self.steps_planned else 0.0

    def observe(self, seconds: float) -> None:
        """Count one step's time."""
        self.step_seconds += seconds
        self.step_seconds_counts[bisect_left(STEP_SECONDS, seconds)] += 1

    def buckets(self) -> list[tuple[str, float]]:
        """The histogram as Prometheus wants it: (upper bound, steps no longer than it)."""
        bounds = [*(str(bound) for bound in STEP_SECONDS), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self.step_seconds_counts)), strict=True))

    def write(self, folder: Path) -> None:
        """Replace this rank's file in the agent's folder."""
        file = snapshot_file(folder, self.rank)
        temporary = file.with_suffix(".partial")
        temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")
        temporary.replace(file)


def snapshot_file(folder: Path, rank: int) -> Path:
    """Where a rank's snapshot lies in its agent's folder."""
    return folder / f"rank-{rank:05d}.json"


def read_snapshots(folder: Path) -> list[Snapshot]:
    """The snapshots of this node's ranks, lowest rank first; empty until the first rank has begun."""
    return [Snapshot(**json.loads(file.read_text(encoding="utf-8"))) for file in sorted(folder.glob("rank-*.json"))]
