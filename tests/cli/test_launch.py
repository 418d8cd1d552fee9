"""What each process of a stage is told; pure."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medfinetune_api.choices import Sharding, Stage
from medfinetune_api.errors import InvalidManifest
from medfinetune_api.exits import Exit
from medfinetune_api.plan_training import ParallelismPlan
from medfinetune_api.results import StageResult
from medfinetune_cli.launch import Machine, launches, next_micro_batch, ports_needed, require_devices, visible_devices, with_micro_batch
from support.manifests import minimal_manifest, plan_for

PLAN = Path("/scratch/plan.json")


def parallelism(nodes: int, gpus: int) -> ParallelismPlan:
    return ParallelismPlan(nodes=nodes, gpus_per_node=gpus, sharding=Sharding.AUTO, gpu_memory_headroom=0.2)


@given(stage=st.sampled_from([Stage.TRAIN, Stage.EVALUATE]), nodes=st.integers(1, 8), gpus=st.integers(0, 8), cores=st.integers(1, 256))
def test_a_gang_shares_one_rendezvous_and_nothing_else(stage: Stage, nodes: int, gpus: int, cores: int) -> None:
    wanted = parallelism(nodes, gpus)
    ports = range(20000, 20000 + ports_needed(True, wanted))
    gang = launches(stage, True, wanted, PLAN, Machine(cores, tuple(map(str, range(64))), None), ports)
    told = [launch.environment for launch in gang]
    assert [one["PET_NODE_RANK"] for one in told] == [str(node) for node in range(nodes)]
    assert {one["MASTER_PORT"] for one in told} == {"20000"}
    assert len({one["MEDFINETUNE_METRICS_PORT"] for one in told} | {"20000"}) == nodes + 1
    devices = [device for one in told for device in one["CUDA_VISIBLE_DEVICES"].split(",") if device]
    assert devices == [str(device) for device in range(nodes * gpus)]
    assert 1 <= int(told[0]["OMP_NUM_THREADS"]) <= max(1, cores // wanted.world_size)


def test_a_cpu_run_sees_no_accelerator_and_prepare_never_does() -> None:
    machine = Machine(8, ("GPU-a", "GPU-b"), None)
    for stage, wanted in ((Stage.PREPARE, parallelism(1, 2)), (Stage.TRAIN, parallelism(1, 0)), (Stage.EVALUATE, parallelism(2, 0))):
        assert {launch.environment["CUDA_VISIBLE_DEVICES"] for launch in launches(stage, stage is Stage.TRAIN, wanted, PLAN, machine, range(9))} == {""}
    (evaluate,) = launches(Stage.EVALUATE, False, parallelism(1, 2), PLAN, machine, ())
    assert evaluate.environment["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"


def test_too_few_gpus_are_refused_by_number() -> None:
    require_devices(parallelism(2, 1), Machine(8, ("0", "1"), None))
    with pytest.raises(InvalidManifest, match=r"spec\.parallelism\.gpusPerNode: found 2 x 2 GPUs on a machine that shows 2; expected at most 2"):
        require_devices(parallelism(2, 2), Machine(8, ("0", "1"), None))


@pytest.mark.parametrize(
    ("installed", "visible", "left"),
    [(2, None, ("0", "1")), (4, "2, GPU-a", ("2", "GPU-a")), (2, "", ()), (2, "-1", ()), (2, "0,-1,1", ("0",)), (0, "0,1", ()), (0, None, ())],
)
def test_gpus_are_those_installed_that_the_environment_leaves(installed: int, visible: str | None, left: tuple[str, ...]) -> None:
    assert visible_devices(installed, visible) == left


@pytest.mark.parametrize(
    ("micro_batch", "code", "stage", "tried", "following"),
    [
        ("Auto", Exit.OUT_OF_MEMORY, Stage.TRAIN, 6, 3),
        ("Auto", Exit.OUT_OF_MEMORY, Stage.TRAIN, 3, 1),
        ("Auto", Exit.OUT_OF_MEMORY, Stage.TRAIN, 1, None),
        ("Auto", Exit.OUT_OF_MEMORY, Stage.TRAIN, None, None),
        ("Auto", Exit.OUT_OF_MEMORY, Stage.EVALUATE, 6, None),
        ("Auto", Exit.HOST_OUT_OF_MEMORY, Stage.TRAIN, 6, None),
        (6, Exit.OUT_OF_MEMORY, Stage.TRAIN, 6, None),
    ],
)
def test_a_micro_batch_that_is_ours_to_choose_is_halved_until_it_is_one(
    tmp_path: Path, micro_batch: int | str, code: Exit, stage: Stage, tried: int | None, following: int | None
) -> None:
    plan = plan_for(minimal_manifest(training={"microBatch": micro_batch}), tmp_path, tmp_path, tmp_path)
    assert next_micro_batch(plan, StageResult.of(stage, code, "", {"micro_batch": tried} if tried else {})) == following
    gang = launches(Stage.TRAIN, True, parallelism(2, 0), PLAN, Machine(2, (), None), range(9))
    assert [one.environment.get("MEDFINETUNE_MICRO_BATCH") for one in with_micro_batch(gang, following)] == [str(following) if following else None] * 2
