"""Train: this program is the torch elastic agent of its node, so that the contract's exit codes survive.

It starts one worker a rank (`train_worker`), serves their figures on one port, and turns how they ended into one result. A restart is not its business: a gang
begins again as a whole, by its executor, and continues from the newest complete checkpoint.

Environment, as torchrun has it: PET_NNODES, PET_NPROC_PER_NODE, PET_NODE_RANK, MASTER_ADDR, MASTER_PORT; without them the plan's own processes on one node. A
node whose peers have not come after MEDFINETUNE_RENDEZVOUS_SECONDS (300) ends as GANG_LOST. After SIGTERM or SIGINT the workers finish their step and write a
checkpoint; one that has not ended after MEDFINETUNE_STOP_SECONDS (600) is killed.

Node 0 first reads data and base whole and compares their hashes with prepare's, about a second a GB; its peers wait at the rendezvous meanwhile.
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

import psutil
from medfinetune_api.choices import Stage
from medfinetune_api.errors import GangLost, Interrupted
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import StageResult
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from medfinetune_trainer.stages.prepared import require_base, require_data, require_prepared
from medfinetune_trainer.stages.train_node import Node, killed
from medfinetune_trainer.stages.train_outcome import STOP, Outcome, outcomes, root_cause
from medfinetune_trainer.telemetry.server import serving

STOP_SECONDS = "MEDFINETUNE_STOP_SECONDS"


def run(plan: RunPlan) -> StageResult:
    """Train what is missing. The result carries the first real failure of this node's ranks, or their numbers.

    Raises:
        OutputConflict: prepare is not complete, was for another plan, or its data is damaged. InvalidModel: the base is not the one that prepare saw.
        Interrupted: stopped in good order. GangLost: a rank was killed, or nodes did not arrive. InvalidManifest: GPUs are missing.
    """
    if plan.folder.final.exists() or plan.folder.adapter.exists():
        return StageResult.of(Stage.TRAIN, Exit.SUCCEEDED, "The adapter is trained already.")
    prepared = require_prepared(plan)
    node = Node.of(os.environ, plan.parallelism)
    node.require_devices(plan.parallelism)
    if node.rank == 0:
        require_data(plan)
        require_base(plan, prepared)
    with tempfile.TemporaryDirectory(prefix="medfinetune-") as name, serving(Path(name), Stage.TRAIN):
        folder = Path(name)
        (folder / "plan.json").write_text(plan.to_json(), encoding="utf-8")
        with _stop_file(folder / STOP):
            error = _supervised(node, folder)
        return _result(error, folder)


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


def _supervised(node: Node, folder: Path) -> BaseException | None:
    """Run the workers to their end and return how the agent ended; it has a thread of its own, because a rendezvous that waits would hold back our signals.

    Raises Interrupted where a stop is asked for before there are workers.
    """
    ended: list[BaseException | None] = []
    agent = Thread(target=lambda: ended.append(_error_of(node, folder)), name="agent", daemon=True)
    agent.start()
    deadline = None
    while agent.is_alive():
        agent.join(0.2)
        if deadline is None and (folder / STOP).exists():
            deadline = time.monotonic() + float(os.environ.get(STOP_SECONDS, "600"))
            if agent.is_alive() and not psutil.Process().children():
                raise Interrupted(
                    "train", found="a request to stop before the gang was complete", expected="the last step", remedy="Start it again; it continues."
                )
        if deadline is not None and time.monotonic() > deadline:
            _kill_workers()
    return ended[0]


def _error_of(node: Node, folder: Path) -> BaseException | None:
    try:
        node.launch(folder)
    except BaseException as error:
        return error
    return None


def _kill_workers() -> None:
    for worker in psutil.Process().children():
        worker.kill()


def _result(error: BaseException | None, folder: Path) -> StageResult:
    """The first real failure among the ranks, else what the agent saw, else success."""
    found = outcomes(folder)
    cause = root_cause(found)
    death = killed(error) if isinstance(error, ChildFailedError) else None
    if cause is not None and not (death and cause.exit_code == Exit.GANG_LOST):
        return _of(cause)
    if death is not None:
        raise _lost(*death, stopping=(folder / STOP).exists())
    if error is not None:
        raise error
    return _of(found[0])


def _lost(rank: int, name: str, *, stopping: bool) -> Interrupted | GangLost:
    """A rank that a signal ended: the gang is lost, unless we ended it because it took too long to stop."""
    if stopping:
        return Interrupted(
            "train", found=f"rank {rank} killed by {name} while it stopped", expected="a checkpoint in time", remedy="Start it again; it continues."
        )
    remedy = "Look for the machine's out-of-memory killer or an eviction; then start the stage again: it continues."
    return GangLost(f"rank {rank}", found=f"it was killed by {name}", expected="every rank alive", remedy=remedy)


def _of(outcome: Outcome) -> StageResult:
    return StageResult.of(Stage.TRAIN, Exit(outcome.exit_code), outcome.message, outcome.numbers)
