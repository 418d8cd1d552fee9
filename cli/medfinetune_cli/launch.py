"""What to start: the command and the environment of each process of a stage. Pure; nothing is started here.

Training on `nodes` nodes becomes that many processes, as it becomes that many pods on a cluster: torch's own variables (PET_*, MASTER_*) tell each
which node it is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medfinetune_api.choices import Stage
from medfinetune_api.plan import ParallelismPlan

from medfinetune_cli.output import UsageRefusal

STOP_SECONDS = 600.0
"""How long a stage that is asked to stop may take to write its checkpoint before it is killed."""


@dataclass(frozen=True)
class Machine:
    """What this machine lends the run."""

    cores: int
    devices: tuple[str, ...] | None
    """Accelerators by index or UUID; None where nothing limits them, so that they are counted from 0."""
    threads: str | None
    """OMP_NUM_THREADS where the caller has set it; it is kept."""


@dataclass(frozen=True)
class Launch:
    """One process of a stage."""

    stage: Stage
    node: int
    command: tuple[str, ...]
    environment: dict[str, str]
    """Added to the caller's environment."""

    @property
    def label(self) -> str:
        """How messages name the process."""
        return f"{self.stage} on node {self.node}"


def ports_needed(stage: Stage, parallelism: ParallelismPlan) -> int:
    """How many free ports `launches` wants: the rendezvous, and one a node for metrics."""
    return 1 + parallelism.nodes if stage is Stage.TRAIN else 0


def launches(stage: Stage, parallelism: ParallelismPlan, plan: Path, machine: Machine, ports: Sequence[int]) -> tuple[Launch, ...]:
    """Every process of `stage`, node 0 first. Raises UsageRefusal where fewer accelerators are visible than the plan spreads over."""
    command = (sys.executable, "-m", "medfinetune_trainer", str(stage), "--plan", str(plan))
    if stage is not Stage.TRAIN:
        devices = _devices(machine, 0, parallelism.gpus_per_node if stage is Stage.EVALUATE else 0)
        return (Launch(stage, 0, command, {"CUDA_VISIBLE_DEVICES": devices, "OMP_NUM_THREADS": _threads(machine, 1)}),)
    return tuple(Launch(stage, node, command, _gang_member(node, parallelism, machine, ports)) for node in range(parallelism.nodes))


def _gang_member(node: int, parallelism: ParallelismPlan, machine: Machine, ports: Sequence[int]) -> dict[str, str]:
    return {
        "PET_NNODES": str(parallelism.nodes),
        "PET_NPROC_PER_NODE": str(parallelism.processes_per_node),
        "PET_NODE_RANK": str(node),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(ports[0]),
        "MEDFINETUNE_STOP_SECONDS": f"{STOP_SECONDS:.0f}",
        "MEDFINETUNE_METRICS_PORT": str(ports[1 + node]),
        "CUDA_VISIBLE_DEVICES": _devices(machine, node, parallelism.gpus_per_node),
        "OMP_NUM_THREADS": _threads(machine, parallelism.world_size),
    }


def _devices(machine: Machine, node: int, count: int) -> str:
    """The `count` accelerators of a node; an empty string hides them all, so that a CPU run stays one on a machine that has some."""
    wanted = range(node * count, (node + 1) * count)
    if machine.devices is None:
        return ",".join(map(str, wanted))
    if len(machine.devices) < wanted.stop:
        raise UsageRefusal(
            "CUDA_VISIBLE_DEVICES",
            found=f"{len(machine.devices)} accelerators",
            expected=f"at least {wanted.stop} for spec.parallelism",
            remedy="Make more accelerators visible, or lower spec.parallelism.nodes or gpusPerNode.",
        )
    return ",".join(machine.devices[index] for index in wanted)


def _threads(machine: Machine, processes: int) -> str:
    """An even share of the cores: threads of several ranks on one core slow each other down."""
    return machine.threads or str(max(1, machine.cores // processes))
