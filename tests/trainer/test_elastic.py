"""A run that is stopped, starved of its volume or continued by another number of ranks ends as if nothing had happened."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from medfinetune_api.choices import Sharding
from medfinetune_api.errors import Interrupted, OutputConflict, StorageFailed
from medfinetune_api.plan import RunPlan
from medfinetune_trainer.artifacts import checkpoint
from medfinetune_trainer.artifacts.checkpoint import MANIFEST
from medfinetune_trainer.artifacts.files import sha256_file
from medfinetune_trainer.artifacts.history import History, read
from medfinetune_trainer.stages.outcome import STOP
from safetensors.torch import load_file
from support.disturbed import before_step, torn_after, train_on_full_volume, until_complete
from support.gang import gang
from support.train import losses, small_run, train_gang, train_here

WEIGHTS = "adapter_model.safetensors"


def adapter(plan: RunPlan) -> tuple[str, object]:
    final = plan.folder.final
    return sha256_file(final / WEIGHTS), json.loads((final / "adapter_config.json").read_text())


def difference(one: RunPlan, other: RunPlan) -> float:
    """The largest difference between two adapters' weights."""
    found, expected = (load_file(plan.folder.final / WEIGHTS) for plan in (one, other))
    assert found.keys() == expected.keys()
    return max(float((found[name] - expected[name]).abs().max()) for name in expected)


def test_losses_are_the_same_at_every_world_size_and_micro_batch(tmp_path: Path) -> None:
    alone = small_run(tmp_path / "alone", dropout=0.1)
    train_here(alone, tmp_path / "agent-1")
    for world_size, sharding in ((2, Sharding.ADAPTERS_ONLY), (3, Sharding.FULL)):
        shared = small_run(tmp_path / f"shared-{world_size}", sharding, dropout=0.1)
        train_gang(shared, world_size, tmp_path / f"agent-{world_size}")
        assert losses(shared) == pytest.approx(losses(alone), abs=1e-5)
    plain, larger = small_run(tmp_path / "plain"), small_run(tmp_path / "larger", micro_batch=2)
    train_here(plain, tmp_path / "agent-plain")
    train_gang(larger, 2, tmp_path / "agent-larger")
    assert losses(larger) == pytest.approx(losses(plain), abs=1e-5)


@pytest.mark.parametrize(("sharding", "continued"), [(Sharding.ADAPTERS_ONLY, (1, 2, 3)), (Sharding.FULL, (2, 3))])
def test_saved_by_two_ranks_and_continued_by_any_number_past_a_torn_checkpoint(tmp_path: Path, sharding: Sharding, continued: tuple[int, ...]) -> None:
    plan = small_run(tmp_path / "two", sharding, dropout=0.1)
    train_gang(plan, 2, tmp_path / "agent")
    assert len(losses(plan)) == 6
    for world_size in continued:
        other = torn_after(plan, 3, tmp_path / f"continued-{world_size}")
        agent = tmp_path / f"agent-{world_size}"
        numbers = train_here(other, agent) if world_size == 1 else train_gang(other, world_size, agent)
        assert numbers["resume_step"] == 3
        assert losses(other) == pytest.approx(losses(plan), abs=5e-6)
        assert difference(other, plan) < 5e-6
        assert (adapter(other) == adapter(plan)) or world_size != 2


@pytest.mark.parametrize("every_steps", [100, 4, 3], ids=["none in flight", "this one in flight", "an earlier one in flight"])
def test_a_stopped_run_continues_to_the_same_adapter_bit_for_bit(tmp_path: Path, every_steps: int) -> None:
    whole, stopped = small_run(tmp_path / "whole", dropout=0.1), small_run(tmp_path / "stopped", dropout=0.1, every_steps=every_steps)
    train_here(whole, tmp_path / "agent")
    agent = tmp_path / "agent-stopped"
    agent.mkdir()
    _train_until(stopped, agent, step=4)
    assert checkpoint.newest(stopped.folder.checkpoints, stopped.sha256) is not None
    (agent / STOP).unlink()
    assert train_here(stopped, agent)["resume_step"] == 4
    assert adapter(stopped) == adapter(whole)
    assert losses(stopped) == losses(whole)


def test_a_volume_that_is_full_for_one_rank_ends_all_alike_and_costs_only_the_last_steps(tmp_path: Path) -> None:
    whole, plan = (small_run(tmp_path / name, every_steps=2, lora_rank=16) for name in ("whole", "full"))
    train_gang(whole, 2, tmp_path / "agent-whole")
    told = gang(2, train_on_full_volume, plan.to_json(), str(tmp_path / "agent"), 1)
    assert told[0] == told[1]
    assert told[0][0] == "StorageFailed"
    assert "checkpoints/step-4: found " in told[0][1]
    assert sorted(path.name for path in plan.folder.checkpoints.iterdir()) == ["step-2"]
    assert train_gang(plan, 2, tmp_path / "agent")["resume_step"] == 2
    assert (adapter(plan), losses(plan)) == (adapter(whole), losses(whole))


def test_a_volume_that_vanishes_is_a_storage_failure_and_costs_only_the_last_steps(tmp_path: Path) -> None:
    whole, plan = (small_run(tmp_path / name, every_steps=2) for name in ("whole", "vanished"))
    train_here(whole, tmp_path / "agent-whole")
    root, elsewhere = plan.folder.root, tmp_path / "elsewhere"

    def vanish() -> None:
        until_complete(plan, 2)
        root.rename(elsewhere)

    with before_step(4, vanish), pytest.raises(StorageFailed, match=r"checkpoints/step-4: found No such file"):
        train_here(plan, tmp_path / "agent")
    assert not root.exists()
    elsewhere.rename(root)
    assert train_here(plan, tmp_path / "agent")["resume_step"] == 2
    assert (adapter(plan), losses(plan)) == (adapter(whole), losses(whole))
    blocked = [line["blocked_seconds"] <= line["seconds"] for line in read(plan.folder.metrics) if line["kind"] == "checkpoint"]
    assert blocked == [True] * 3


def test_a_run_is_not_continued_from_a_checkpoint_of_another_plan(tmp_path: Path) -> None:
    plan, other = small_run(tmp_path / "run"), small_run(tmp_path / "other", seed=1)
    train_here(plan, tmp_path / "agent")
    shutil.copytree(plan.folder.checkpoints / "step-3", other.folder.checkpoints / "step-3")
    before = (other.folder.checkpoints / "step-3" / MANIFEST).read_bytes()
    with pytest.raises(OutputConflict):
        train_here(other, tmp_path / "agent-other")
    assert (other.folder.checkpoints / "step-3" / MANIFEST).read_bytes() == before


def _train_until(plan: RunPlan, agent: Path, step: int) -> None:
    """Train in this process, with a stop asked for as soon as metrics.jsonl tells of `step`."""
    write = History.write

    def write_and_ask(self: History, kind: str, **figures: object) -> None:
        write(self, kind, **figures)
        if figures.get("step") == step:
            (agent / STOP).touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(History, "write", write_and_ask)
        with pytest.raises(Interrupted, match=f"after step {step}"):
            train_here(plan, agent)
