"""What to start: the command and the environment of each process of a stage. Pure; nothing is started here.

A gang of `nodes` nodes becomes that many processes, as it becomes that many pods on a cluster: torch's own variables (PET_*, MASTER_*) tell each which node
it is. Train is always one; evaluate is one where prepare found that the base does not fit a single GPU.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from medfinetune_api.choices import Stage
from medfinetune_api.errors import InvalidManifest
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_training import ParallelismPlan
from medfinetune_api.results import StageResult

STOP_SECONDS = 600.0
"""How long a stage that is asked to stop may take to write its checkpoint before it is killed."""


@dataclass(frozen=True)
class Machine:
    """What this machine lends the run."""

    cores: int
    devices: tuple[str, ...]
    """GPUs by index or UUID."""
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

    @property
    def in_gang(self) -> bool:
        """Whether others work on the same stage beside it, or might."""
        return "PET_NNODES" in self.environment


def ports_needed(gang: bool, parallelism: ParallelismPlan) -> int:
    """How many free ports `launches` wants: the rendezvous, and one a node for metrics."""
    return 1 + parallelism.nodes if gang else 0


def visible_devices(installed: int, visible: str | None) -> tuple[str, ...]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves of those installed, read as CUDA reads it: up to the first empty or negative entry, all where it is unset."""
    if visible is None or not installed:
        return tuple(map(str, range(installed)))
    return tuple(takewhile(lambda part: part and not part.startswith("-"), map(str.strip, visible.split(","))))


def require_devices(parallelism: ParallelismPlan, machine: Machine) -> None:
    """Raises InvalidManifest where the plan spreads over more GPUs than this machine shows."""
    wanted = parallelism.nodes * parallelism.gpus_per_node
    if wanted > len(machine.devices):
        raise InvalidManifest(
            "spec.parallelism.gpusPerNode",
            found=f"{parallelism.nodes} x {parallelism.gpus_per_node} GPUs on a machine that shows {len(machine.devices)}",
            expected=f"at most {len(machine.devices)} over all nodes",
            remedy="Lower gpusPerNode or nodes (gpusPerNode: 0 trains on the CPU), or show the run more GPUs (driver, CUDA_VISIBLE_DEVICES).",
        )


def next_micro_batch(plan: RunPlan, result: StageResult) -> int | None:
    """Rows in a pass that a gang is to try after one that ended with `result`: half of what did not fit, where the plan leaves it to us; None for no other try.

    A gang of one node does this itself. Of several, no node may decide for the others.
    """
    if result.stage is not Stage.TRAIN or result.exit_code != Exit.OUT_OF_MEMORY or plan.training.micro_batch != "Auto":
        return None
    tried = int(result.numbers.get("micro_batch", 0))
    return tried // 2 if tried > 1 else None


def with_micro_batch(wanted: tuple[Launch, ...], rows: int | None) -> tuple[Launch, ...]:
    """The same processes, told to take `rows` rows in a pass where it is not None."""
    told = {} if rows is None else {"MEDFINETUNE_MICRO_BATCH": str(rows)}
    return tuple(replace(each, environment=each.environment | told) for each in wanted)


def launches(stage: Stage, gang: bool, parallelism: ParallelismPlan, plan: Path, machine: Machine, ports: Sequence[int]) -> tuple[Launch, ...]:
    """Every process of `stage`, node 0 first, on a machine that `require_devices` has passed."""
    command = (sys.executable, "-m", "medfinetune_trainer", str(stage), "--plan", str(plan))
    if gang:
        return tuple(Launch(stage, node, command, _gang_member(node, parallelism, machine, ports)) for node in range(parallelism.nodes))
    devices = _devices(machine, 0, parallelism.gpus_per_node if stage is Stage.EVALUATE else 0)
    return (Launch(stage, 0, command, {"CUDA_VISIBLE_DEVICES": devices, "OMP_NUM_THREADS": _threads(machine, 1)}),)


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
    """The `count` GPUs of a node; an empty string hides them all, so that a CPU run stays one on a machine that has some."""
    return ",".join(machine.devices[node * count : (node + 1) * count])


def _threads(machine: Machine, processes: int) -> str:
    """An even share of the cores: threads of several ranks on one core slow each other down."""
    return machine.threads or str(max(1, machine.cores // processes))
