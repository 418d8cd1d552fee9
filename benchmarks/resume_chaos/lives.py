"""The lives of one run: each starts the real stage program, and is killed at its moment."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from medfinetune_api.plan import RunPlan
from support.train import Agent, agents

from benchmarks.resume_chaos.ledger import Ledger, newest_complete
from benchmarks.resume_chaos.moments import Moment, arrival

POLL_SECONDS = 0.005


@dataclass
class Lives:
    """One run, through all its lives."""

    plan: RunPlan
    logs: Path
    chance: random.Random
    world_sizes: Iterator[int]
    kills: Counter[str] = field(default_factory=Counter)
    """By moment and victim."""
    ends: Counter[str] = field(default_factory=Counter)
    """What the agents that were left alive reported."""
    ledger: Ledger = field(init=False)
    _attempt: int = 0

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.plan)

    def live_and_die(self, moment: Moment) -> None:
        """One life, killed at `moment`; a life that is done before that ends by itself."""
        agent, world_size, began = self._born()
        due = arrival(moment, self.plan, began, self.chance)
        victim = self.chance.choice(["agent", *(f"rank {rank}" for rank in range(world_size))])
        process = _within(agent, lambda: _victim(agent, victim, world_size))
        if process is None or not _within(agent, due):
            self.ends[agent.end()[1]["reason"] + " before its kill"] += 1
            return
        complete = newest_complete(self.plan)
        process.kill()
        when = "after the adapter was written" if self.plan.folder.final.exists() else moment.value
        self.kills[f"{when}: {'agent' if victim == 'agent' else 'rank'}"] += 1
        if victim == "agent":
            agent.process.wait(600)
        else:
            self.ends[agent.end()[1]["reason"]] += 1
        self.ledger.lived(began)
        self.ledger.killed(complete)

    def live_on(self) -> None:
        """The last life, to the end. AssertionError where it does not succeed."""
        agent, _, began = self._born()
        code, result = agent.end()
        assert code == 0, f"{result}\n{agent.log.read_text()[-3000:]}"
        self.ends[result["reason"]] += 1
        self.ledger.lived(began)

    def _born(self) -> tuple[Agent, int, str]:
        self._attempt += 1
        world_size, began = next(self.world_sizes), datetime.now(UTC).isoformat(timespec="milliseconds")
        [agent] = agents(self.plan, 1, self.logs, PET_NPROC_PER_NODE=str(world_size), MEDFINETUNE_ATTEMPT=str(self._attempt))
        return agent, world_size, began


def _within(agent: Agent, condition: Callable[[], Any]) -> Any:
    """What `condition()` returns once it is true; None where the agent ends before."""
    deadline = time.monotonic() + 600
    while agent.process.poll() is None:
        if found := condition():
            return found
        assert time.monotonic() < deadline, agent.log.read_text()[-3000:]
        time.sleep(POLL_SECONDS)
    return None


def _victim(agent: Agent, name: str, world_size: int) -> psutil.Process | None:
    """The agent or one of its ranks, once all of them are processes."""
    try:
        ranks = {f"rank {worker.environ()['RANK']}": worker for worker in agent.workers() if "RANK" in worker.environ()}
    except psutil.Error:
        return None
    if len(ranks) < world_size:
        return None
    return psutil.Process(agent.process.pid) if name == "agent" else ranks[name]
