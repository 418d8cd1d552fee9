"""One rank: join the gang, do the stage's work, and leave the agent an outcome.

Started by the agent, with torchelastic's environment. It dies with its agent, and it never hangs in a library's exit handlers after a failure: what there is
to say has been written by then.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from medfinetune_api.choices import Stage
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import Prepared
from transformers.utils.logging import disable_progress_bar

from medfinetune_trainer.artifacts.fence import cause_of, fenced
from medfinetune_trainer.optim.ranks import Ranks
from medfinetune_trainer.stages.imports import stage_module
from medfinetune_trainer.stages.outcome import Outcome, outcome_of
from medfinetune_trainer.telemetry import heartbeat
from medfinetune_trainer.telemetry.heartbeat import beat
from medfinetune_trainer.telemetry.log import hush_libraries, say, stack

COLLECTIVE_SECONDS = 86400.0
"""Longest wait for a peer in one collective. A peer that is gone ends it at once, and one that hangs is the watchdog's to find: rank 0 may load or hash for as
long as it moves."""


WORK = {Stage.TRAIN: ("train_loop", "train"), Stage.EVALUATE: ("ask", "ask")}
"""Module of this package and its function (plan, prepared, ranks, device, agent's folder) -> numbers, by stage."""


def main(stage: Stage, folder: Path, agent: int) -> None:
    """Run this rank; `folder` is the agent's, with the plan, and `agent` its process id. Leaves the process with the outcome's code where it failed."""
    rank = int(os.environ["RANK"])
    _die_with_agent(agent)
    heartbeat.start(folder, rank)
    hush_libraries()
    disable_progress_bar()
    plan = RunPlan.model_validate_json((folder / "plan.json").read_bytes())
    with fenced(plan.folder.root, stage):
        try:
            numbers = _work(stage, plan, folder)
            Outcome(rank, Exit.SUCCEEDED, f"Rank {rank} has done its part of {stage}.", numbers).write(folder)
        except BaseException as error:
            _leave(cause_of(error), rank, stage, folder)


def _work(stage: Stage, plan: RunPlan, folder: Path) -> Mapping[str, float]:
    module, function = WORK[stage]
    work: Any = getattr(stage_module(module), function)  # late: an import that fails has an outcome too
    prepared = Prepared.model_validate_json(plan.folder.prepared.read_bytes())
    beat("joining the gang")
    with _gang(plan.parallelism.gpus_per_node > 0) as device:
        beat("loading")
        numbers: Mapping[str, float] = work(plan, prepared, Ranks.here(), device, folder)
    return numbers


def _leave(error: BaseException, rank: int, stage: Stage, folder: Path) -> NoReturn:
    outcome = outcome_of(error, rank, stage)
    if outcome.exit_code == Exit.INTERNAL_ERROR:
        say("rank failed", rank=rank, stack=stack(error))
    outcome.write(folder)
    sys.stderr.flush()
    os._exit(outcome.exit_code)


@contextmanager
def _gang(cuda: bool) -> Iterator[torch.device]:
    """The process group of all ranks, and this rank's device; figures travel over gloo on GPUs too."""
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=timedelta(seconds=COLLECTIVE_SECONDS))
    yield device
    dist.destroy_process_group()


def _die_with_agent(agent: int) -> None:
    """Ask the kernel to end this process when its agent is gone, however that came about (Linux, prctl(2) PR_SET_PDEATHSIG), and end if it is gone by now.

    The import before this takes seconds; an agent that is killed meanwhile would leave a rank that waits for its peers for ever.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != agent:
        os._exit(Exit.GANG_LOST)


if __name__ == "__main__":
    main(Stage(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
