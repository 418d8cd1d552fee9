"""A gang that gets nowhere is ended, and the rank at fault named: real processes, real signals. Slow ones are left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from medfinetune_api.choices import Stage
from medfinetune_api.errors import InvalidManifest, Stalled
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_trainer.artifacts.history import read
from medfinetune_trainer.stages import node, worker
from medfinetune_trainer.stages.agent import run_gang
from medfinetune_trainer.stages.node import Node
from medfinetune_trainer.stages.patience import STALL_SECONDS, stall_seconds
from medfinetune_trainer.stages.watchdog import PATIENCE, Watchdog
from support.manifests import minimal_manifest, plan_for
from support.train import agents, small_run

TESTS = str(Path(__file__).parents[1])


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    return plan_for(minimal_manifest(), tmp_path, tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("kinds", "culprit", "at"),
    [
        ("waits,fifo", 1, "step 3, micro-batch 1, at support/light_rank.py:"),
        ("native,waits", 0, "step 3, micro-batch 0, at support/light_rank.py:"),
        ("fifo,stopped", 1, "step 3, micro-batch 1, stopped by a signal"),
        ("waits,late", 1, "starting"),
        ("waits,waits", 0, "every rank of node 0 waiting for the others"),
    ],
)
def test_the_rank_that_does_not_wait_is_named_with_where_it_stands(
    plan: RunPlan, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], kinds: str, culprit: int, at: str
) -> None:
    monkeypatch.setattr(node, "WORKER", "support.light_rank")
    for name, value in {"PYTHONPATH": TESTS, "LIGHT_RANKS": kinds, STALL_SECONDS: "1.5"}.items():
        monkeypatch.setenv(name, value)
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as bystander:
        before = psutil.Process().children()
        with pytest.raises(Stalled) as refusal:
            run_gang(plan, Stage.TRAIN, Node.of({}, 2))
        assert bystander.poll() is None, "a process that is no rank was killed with them"
        bystander.kill()
    assert refusal.value.where == f"rank {culprit}"
    assert at in refusal.value.found
    assert refusal.value.exit == Exit.STALLED
    assert psutil.Process().children() == [each for each in before if each.pid != bystander.pid], "ranks outlived their gang"
    logged = capfd.readouterr().err
    assert logged.count("rank stands still") == 2
    assert ("torch/distributed/distributed_c10d.py:4 in all_reduce" in logged) == ("waits" in kinds)


@contextmanager
def light(kind: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """One rank of that kind as a child of this process."""
    environment = os.environ | {"PYTHONPATH": TESTS, "LIGHT_RANKS": kind, "RANK": "0"}
    command = [sys.executable, "-m", "support.light_rank", "train", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


class Clock:
    """A clock that stands until it is moved."""

    time = 0.0

    def __call__(self) -> float:
        return self.time


def told(process: subprocess.Popen[str], phase: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{phase}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


def test_a_slow_gang_that_moves_is_not_shot(tmp_path: Path) -> None:
    clock = Clock()
    watchdog = Watchdog(tmp_path, Node.of({}, 1), seconds=100, clock=clock)
    with light("told", tmp_path) as process:
        for number in range(5):
            told(process, f"step {number}")
            watchdog.look()
            clock.time += 99
        told(process, "checkpoint")
        watchdog.look()
        clock.time += 101
        with pytest.raises(Stalled, match="rank 0: found no progress for 101 s in checkpoint, at support/light_rank"):
            watchdog.look()


def test_a_node_that_waits_for_another_lets_it_speak_first(tmp_path: Path) -> None:
    clock = Clock()
    here = Node(nodes=2, processes=1, rank=1, address="", port=1, rendezvous_seconds=1)
    watchdog = Watchdog(tmp_path, here, seconds=100, clock=clock)
    with light("waits", tmp_path):
        deadline = time.monotonic() + 60  # until the process waits
        while "micro-batch" not in str(watchdog.seen):
            assert time.monotonic() < deadline
            clock.time += 2
            watchdog.look()
        clock.time += 101
        watchdog.look()
        clock.time += 100 * (PATIENCE - 1)
        with pytest.raises(Stalled, match="every rank of node 1 waiting for the others"):
            watchdog.look()


@pytest.mark.parametrize("text", ["", "0", "-1", "soon", "inf", "nan"])
def test_a_timeout_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(STALL_SECONDS, text)
    with pytest.raises(InvalidManifest, match=STALL_SECONDS):
        stall_seconds()


def test_a_stopped_rank_of_a_real_training_ends_the_gang_as_stalled(tmp_path: Path) -> None:
    plan = small_run(tmp_path / "run", documents=500, every_steps=1000)
    [agent] = agents(plan, 1, tmp_path / "logs", PET_NPROC_PER_NODE="2", **{STALL_SECONDS: "10"})
    agent.until(lambda: any(line.get("step", 0) >= 2 for line in read(plan.folder.metrics)), "steps")
    ranks = {int(worker.environ()["RANK"]): worker for worker in agent.workers()}
    ranks[1].send_signal(signal.SIGSTOP)
    code, result = agent.end()
    assert (code, result["reason"]) == (Exit.STALLED, "Stalled")
    assert "rank 1: found no progress for" in result["message"]
    assert "stopped by a signal" in result["message"]
    assert '"rank": 0' in agent.log.read_text()
    assert "torch/distributed/" in agent.log.read_text()
    assert not any(rank.is_running() for rank in ranks.values())


def test_a_rank_whose_agent_died_while_it_started_ends_too() -> None:
    """The kernel tells it only of a death that comes after it has asked."""
    rank = os.fork()
    if rank == 0:
        worker._die_with_agent(os.getpid())  # its parent is another
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(rank, 0)[1]) == Exit.GANG_LOST
