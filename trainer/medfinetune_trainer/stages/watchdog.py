"""The agent's watch over its ranks: a gang that gets nowhere is ended, and the rank at fault is named with where it stands.

Ranks work in step, so one that hangs soon has all others waiting for it in a collective. The gang therefore stands still when no rank of the node has beaten
(`telemetry/heartbeat.py`) for MEDFINETUNE_STALL_SECONDS; while a rank starts, and imports for many seconds, the processor time it uses counts instead. At fault
is the rank that does not wait: one that is stopped, one that has not begun, one whose stack shows other work; among equals the one that has moved least.
Slow is not still: whatever beats, however rarely, is left alone.

A node all of whose ranks wait gives the node at fault time to speak first, and then ends all the same. Work of rank 0 alone that lasts longer than that, while
another node waits for it, is taken for a standstill: raise the timeout (`spec.runPolicy.stallTimeoutSeconds`) where a volume is that slow.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from medfinetune_api.errors import Stalled

from medfinetune_trainer.stages.node import Node, workers
from medfinetune_trainer.stages.patience import LONGEST_REST, REMEDY
from medfinetune_trainer.stages.stacks import Stack, stack_of
from medfinetune_trainer.telemetry.heartbeat import STARTING, Pulse, read_pulse
from medfinetune_trainer.telemetry.log import say

PATIENCE = 1.125
"""How much longer a node waits whose own ranks are not at fault."""


Signs = tuple[Pulse | None, float]
"""What shows that a rank moves: its pulse, and the processor seconds that it has used so far while it starts."""


@dataclass(frozen=True)
class Standing:
    """One rank as it stands when nothing has moved."""

    rank: int
    pulse: Pulse | None
    """None where it has not begun."""
    stack: Stack

    @property
    def innocence(self) -> tuple[bool, bool, int]:
        """Least where it is at fault: it cannot even answer, it does not wait for others, it has moved least."""
        return self.stack.unable is None, self.stack.waits, self.pulse.beats if self.pulse else 0

    @property
    def described(self) -> str:
        """What it is at, what the kernel says of it, and where in the code."""
        phase = self.pulse.phase if self.pulse else STARTING
        return ", ".join(filter(None, (phase, self.stack.unable, self.stack.place and f"at {self.stack.place}")))


@dataclass
class Watchdog:
    """Watches one node's ranks of one attempt; `look` is called again and again while they run."""

    folder: Path
    """The agent's, with the ranks' signs of life."""
    node: Node
    seconds: float
    """How long nothing may move."""
    clock: Callable[[], float] = time.monotonic
    looked: float = -math.inf
    moved: float = 0.0
    """When, by `clock`, one of the ranks was first seen where `seen` has it."""
    seen: Mapping[int, Signs] = field(default_factory=dict)
    others_at_fault: bool = False
    """Whether this node's ranks were found waiting for another's."""

    def look(self) -> None:
        """Look whether anything has moved, unless it is not yet time to. Raises Stalled; every rank's stacks are in the log then."""
        now = self.clock()
        if now < self.looked + min(LONGEST_REST, self.seconds / 50):
            return
        self.looked, ranks = now, dict(_ranks(self.folder))
        signs = {rank: sign for rank, (_, sign) in ranks.items()}
        if signs != self.seen or not ranks:
            self.moved, self.seen, self.others_at_fault = now, signs, False
        elif now - self.moved > self.seconds * (PATIENCE if self.others_at_fault else 1.0):
            self._judge([_standing(self.folder, rank, process, pulse) for rank, (process, (pulse, _)) in sorted(ranks.items())], now - self.moved)

    def _judge(self, standings: list[Standing], still: float) -> None:
        culprit = min(standings, key=lambda each: each.innocence)
        if culprit.stack.waits and self.node.nodes > 1 and not self.others_at_fault:
            self.others_at_fault = True
            return
        for each in standings:
            say("rank stands still", rank=each.rank, at=each.described, threads=each.stack.threads)
        found = f"no progress for {still:.0f} s in {culprit.described}"
        if culprit.stack.waits:
            found = f"every rank of node {self.node.rank} waiting for the others for {still:.0f} s; rank {culprit.rank} in {culprit.described}"
        raise Stalled(f"rank {culprit.rank}", found=found, expected=f"a sign of life within {self.seconds:.0f} s", remedy=REMEDY)


def _standing(folder: Path, rank: int, process: psutil.Process, pulse: Pulse | None) -> Standing:
    """Only a rank that has begun is asked for its stacks: any other would die of the signal."""
    return Standing(rank, pulse, stack_of(process, folder, rank, asked=pulse is not None))


def _ranks(folder: Path) -> Iterator[tuple[int, tuple[psutil.Process, Signs]]]:
    """This node's ranks and their signs, by the environment that they were started with."""
    for process in workers(folder):
        try:
            rank, used = int(process.environ()["RANK"]), process.cpu_times()
        except (psutil.Error, KeyError, ValueError):  # just started, or just ended
            continue
        pulse = read_pulse(folder, rank)
        begun = pulse is not None and pulse.phase != STARTING
        yield rank, (process, (pulse, 0.0 if begun else float(used.user + used.system)))
