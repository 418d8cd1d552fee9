"""This node of the gang: who it is, from torchrun's environment, and the elastic agent over its workers."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch
from medfinetune_api.choices import Stage
from medfinetune_api.errors import GangLost, InvalidManifest
from medfinetune_api.plan_training import ParallelismPlan
from torch.distributed import DistError
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

WORKER = "medfinetune_trainer.stages.worker"
RENDEZVOUS_SECONDS = "MEDFINETUNE_RENDEZVOUS_SECONDS"


@dataclass(frozen=True)
class Node:
    """One node of the gang."""

    nodes: int
    processes: int
    """Ranks on this node."""
    rank: int
    """Number of this node, from 0; node 0 hosts the rendezvous."""
    address: str
    port: int
    rendezvous_seconds: int

    @classmethod
    def of(cls, environment: Mapping[str, str], processes: int) -> Node:
        """As torchrun's variables say; without them one node with `processes` ranks. Raises InvalidManifest where they make no sense."""
        nodes = _number(environment, "PET_NNODES", 1)
        node = cls(
            nodes=nodes,
            processes=_number(environment, "PET_NPROC_PER_NODE", processes),
            rank=_number(environment, "PET_NODE_RANK", 0),
            address=environment.get("MASTER_ADDR", "127.0.0.1"),
            port=_number(environment, "MASTER_PORT", _free_port() if nodes == 1 else 0),
            rendezvous_seconds=_number(environment, RENDEZVOUS_SECONDS, 300),
        )
        if node.rank >= nodes or node.port == 0:
            raise _misplaced(
                "PET_NODE_RANK, MASTER_PORT", f"node {node.rank} of {nodes} with port {node.port}", "a node below PET_NNODES, and the rendezvous port"
            )
        return node

    @property
    def world_size(self) -> int:
        """Ranks of the whole gang."""
        return self.nodes * self.processes

    def afresh(self) -> Node:
        """This node for one more gang in the same process. Alone it takes another port: the last gang's may not be free yet."""
        return replace(self, port=_free_port()) if self.nodes == 1 else self

    def require_devices(self, parallelism: ParallelismPlan) -> None:
        """Raises InvalidManifest where the plan wants more GPUs than this node shows."""
        if parallelism.gpus_per_node and torch.cuda.device_count() < self.processes:
            raise InvalidManifest(
                "spec.parallelism.gpusPerNode",
                found=f"{torch.cuda.device_count()} GPUs that CUDA can use",
                expected=f"{self.processes}",
                remedy="Set gpusPerNode to what the node has; 0 trains on the CPU.",
            )

    def launch(self, stage: Stage, folder: Path) -> None:
        """Run this node's workers of `stage` to their end; `folder` is handed to each. Where one fails, torch gives the others 30 s before it kills them.

        Raises:
            ChildFailedError: a worker failed; the others were stopped.
            GangLost: not all nodes arrived in time.
        """
        logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # what it has to say, the result says
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self.processes)))
        try:
            elastic_launch(self._config(stage), sys.executable)("-u", "-m", WORKER, str(stage), str(folder), str(os.getpid()))
        except DistError as error:
            why = str(error).partition("\n")[0]
            raise GangLost(
                f"node {self.rank}",
                found=f"not all of {self.nodes} nodes at {self.address}:{self.port}: {why}",
                expected="every node of the gang",
                remedy="See why a node did not start, or whether it can reach that address; then start the stage again.",
            ) from error

    def _config(self, stage: Stage) -> LaunchConfig:
        return LaunchConfig(
            min_nodes=self.nodes,
            max_nodes=self.nodes,
            nproc_per_node=self.processes,
            run_id=str(stage),
            rdzv_backend="static",
            rdzv_endpoint=f"{self.address}:{self.port}",
            rdzv_configs={"rank": self.rank, "timeout": self.rendezvous_seconds},
            max_restarts=0,
        )


def workers(folder: Path) -> list[psutil.Process]:
    """The ranks of this process's gang at `folder`. Not all its children: a process that runs a stage among other things has some of its own."""
    return [child for child in psutil.Process().children() if str(folder) in _command(child)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:  # gone by now
        return []


def killed(error: ChildFailedError) -> tuple[int, str] | None:
    """The rank that a signal ended first, and the signal's name; None where none was."""
    for rank, failure in sorted(error.failures.items()):
        if failure.exitcode < 0:
            return rank, failure.signal_name()
    return None


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal():
        raise _misplaced(name, text, "a number")
    return int(text)


def _misplaced(where: str, found: str, expected: str) -> InvalidManifest:
    return InvalidManifest(where, found=found, expected=expected, remedy="Let the executor set torchrun's variables, or unset them all for one node.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
