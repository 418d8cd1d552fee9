"""This program as the torch elastic agent of its node, so that the contract's exit codes survive.

It starts one worker a rank (`worker`), serves their figures on one port, and turns how they ended into one outcome. A restart is not its business: a gang
begins again as a whole, by its executor.

Environment, as torchrun has it: PET_NNODES, PET_NPROC_PER_NODE, PET_NODE_RANK, MASTER_ADDR, MASTER_PORT. A node whose peers have not come after
MEDFINETUNE_RENDEZVOUS_SECONDS (300) ends as GANG_LOST. After SIGTERM or SIGINT the workers of train finish their step and write a checkpoint; one that has not
ended after MEDFINETUNE_STOP_SECONDS (600) is killed. The other stages have nothing to save: their workers are killed at once. Ranks that get nowhere for
MEDFINETUNE_STALL_SECONDS (1800) are killed, and the stage ends as STALLED (`watchdog`).
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from types import FrameType

from medfinetune_api.choices import Stage
from medfinetune_api.errors import GangLost, Interrupted, Stalled
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from medfinetune_trainer.stages.node import Node, killed, workers
from medfinetune_trainer.stages.outcome import STOP, Outcome, outcomes, root_cause
from medfinetune_trainer.stages.patience import stall_seconds
from medfinetune_trainer.stages.watchdog import Watchdog
from medfinetune_trainer.telemetry.heartbeat import beat
from medfinetune_trainer.telemetry.server import serving

STOP_SECONDS = "MEDFINETUNE_STOP_SECONDS"
KILLED_SECONDS = 30.0
"""How long killed workers may take to be gone: one that waits for a dead volume never is, and must not keep the stage."""
AGAIN = "Start it again; it continues."


def run_gang(plan: RunPlan, stage: Stage, node: Node) -> Outcome:
    """Run this node's ranks of `stage` to their end: the first real failure among them, or the lowest rank's success.

    Raises:
        Interrupted: stopped before there were workers, or a worker had to be killed. GangLost: a rank was killed, or nodes did not arrive.
        Stalled: no rank made progress any more. InvalidManifest: MEDFINETUNE_STALL_SECONDS is no number of seconds.
    """
    with tempfile.TemporaryDirectory(prefix="medfinetune-") as name, serving(Path(name), stage):
        folder = Path(name)
        (folder / "plan.json").write_text(plan.to_json(), encoding="utf-8")
        with _stop_file(folder / STOP):
            error = _supervised(node, stage, folder, Watchdog(folder, node, stall_seconds()))
        return _outcome(error, stage, folder)


@contextmanager
def _stop_file(file: Path) -> Iterator[None]:
    """While the block runs, SIGTERM and SIGINT leave `file`, which the workers look for before every step."""

    def ask(number: int, frame: FrameType | None) -> None:
        file.touch()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _supervised(node: Node, stage: Stage, folder: Path, watchdog: Watchdog) -> BaseException | None:
    """Run the workers to their end and return how the agent ended; it has a thread of its own, because a rendezvous that waits would hold back our signals.

    Raises Interrupted where a stop is asked for before there are workers; Stalled, with the workers killed.
    """
    ended: list[BaseException | None] = []
    agent = Thread(target=lambda: ended.append(_error_of(node, stage, folder)), name="agent", daemon=True)
    agent.start()
    deadline = None
    while agent.is_alive():
        agent.join(0.2)
        beat()
        if deadline is None and (folder / STOP).exists():
            deadline = time.monotonic() + (float(os.environ.get(STOP_SECONDS, "600")) if stage is Stage.TRAIN else 0)
            if agent.is_alive() and not workers(folder):
                raise Interrupted(str(stage), found="a request to stop before the gang was complete", expected="its end", remedy=AGAIN)
        if deadline is None:
            _bitten(watchdog, agent, folder)
        elif time.monotonic() > deadline:
            _kill(folder)
    return ended[0]


def _bitten(watchdog: Watchdog, agent: Thread, folder: Path) -> None:
    """Let the watchdog look, and end the gang where it has found it standing still. Raises Stalled."""
    try:
        watchdog.look()
    except Stalled:
        _kill(folder)
        agent.join(KILLED_SECONDS)
        raise


def _error_of(node: Node, stage: Stage, folder: Path) -> BaseException | None:
    try:
        node.launch(stage, folder)
    except BaseException as error:
        return error
    return None


def _kill(folder: Path) -> None:
    for worker in workers(folder):
        worker.kill()


def _outcome(error: BaseException | None, stage: Stage, folder: Path) -> Outcome:
    """The first real failure among the ranks, else what the agent saw, else success."""
    found = outcomes(folder)
    cause = root_cause(found)
    death = killed(error) if isinstance(error, ChildFailedError) else None
    if cause is not None and not (death and cause.exit_code == Exit.GANG_LOST):
        return cause
    if death is not None:
        raise _lost(*death, stage, stopping=(folder / STOP).exists())
    if error is not None:
        raise error
    return found[0]


def _lost(rank: int, name: str, stage: Stage, *, stopping: bool) -> Interrupted | GangLost:
    """A rank that a signal ended: the gang is lost, unless we ended it because it took too long to stop."""
    if stopping:
        return Interrupted(str(stage), found=f"rank {rank} killed by {name} while it stopped", expected="its end in good order", remedy=AGAIN)
    remedy = "Look for the machine's out-of-memory killer or an eviction; then start the stage again: it continues."
    return GangLost(f"rank {rank}", found=f"it was killed by {name}", expected="every rank alive", remedy=remedy)
