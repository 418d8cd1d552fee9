"""Checkpoints: complete or not there, elastic, and a continued run is the run that was never interrupted."""

from __future__ import annotations

import json
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from medfinetune_api.choices import Sharding
from medfinetune_api.errors import Interrupted, OutputConflict, StorageFailed
from medfinetune_api.plan import RunPlan
from medfinetune_trainer.artifacts import checkpoint
from medfinetune_trainer.artifacts.checkpoint import MANIFEST, Position
from medfinetune_trainer.artifacts.files import sha256_file
from medfinetune_trainer.artifacts.history import History
from medfinetune_trainer.stages.outcome import STOP
from support.train import losses, small_run, train_gang, train_here
from torch import nn

POSITION = Position(plan_sha256="a" * 64, step=1, seed=0, learning_rate=0.1, loss_scale=1.0, clean_steps=0)


def sealed(checkpoints: Path, step: int, **changes: object) -> Path:
    folder = checkpoints / f"step-{step}"
    unfinished = checkpoint.begin(folder)
    (unfinished / "shard").write_bytes(bytes([step]))
    checkpoint.complete(unfinished, folder, replace(POSITION, step=step, **changes))  # type: ignore[arg-type]  # names of the dataclass
    return folder


def test_the_newest_complete_checkpoint_is_found_among_torn_ones(tmp_path: Path) -> None:
    for step in (2, 10, 20, 30, 40):
        sealed(tmp_path, step)
    (tmp_path / "step-40" / MANIFEST).unlink()
    (tmp_path / "step-30" / "shard").write_bytes(b"torn")
    (tmp_path / "step-20" / "shard").unlink()
    (tmp_path / "step-x").mkdir()
    found = checkpoint.newest(tmp_path, POSITION.plan_sha256)
    assert found is not None
    assert (found[0].name, found[1].step) == ("step-10", 10)
    assert checkpoint.newest(tmp_path / "none", POSITION.plan_sha256) is None


def test_pruning_keeps_the_newest_complete_ones_and_nothing_torn(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        sealed(tmp_path, step)
    (tmp_path / "step-3" / MANIFEST).unlink()
    checkpoint.prune(tmp_path, keep=2)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["step-2", "step-4"]


def test_a_checkpoint_of_another_plan_is_refused(tmp_path: Path) -> None:
    folder = sealed(tmp_path, 1, plan_sha256="b" * 64)
    with pytest.raises(OutputConflict, match="another run"):
        checkpoint.newest(tmp_path, POSITION.plan_sha256)
    assert checkpoint.is_complete(folder)


def test_an_earlier_checkpoint_stands_until_another_takes_its_name_and_what_was_killed_goes(tmp_path: Path) -> None:
    folder = sealed(tmp_path, 1)
    killed = checkpoint.begin(folder)
    unfinished = checkpoint.begin(folder)
    assert list(unfinished.iterdir()) == []
    assert not killed.exists()
    assert checkpoint.is_complete(folder)


def test_a_full_volume_is_named_and_leaves_the_earlier_checkpoint(tmp_path: Path) -> None:
    module = nn.Linear(300, 300)
    optimizer = torch.optim.AdamW(module.parameters())
    earlier = sealed(tmp_path, 1)
    folder = checkpoint.begin(tmp_path / "step-2")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(StorageFailed, match="could not be written to its end"):
            checkpoint.save_state(folder, module, optimizer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    found = checkpoint.newest(tmp_path, POSITION.plan_sha256)
    assert found is not None
    assert found[0] == earlier


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


def test_saved_by_two_ranks_and_continued_by_one_or_three(tmp_path: Path) -> None:
    plan = small_run(tmp_path / "two", dropout=0.1)
    train_gang(plan, 2, tmp_path / "agent")
    assert len(losses(plan)) == 6
    for world_size in (1, 3):
        other = _back_to(plan, 3, tmp_path / f"continued-{world_size}")
        numbers = train_here(other, tmp_path / "agent-1") if world_size == 1 else train_gang(other, world_size, tmp_path / "agent-3")
        assert numbers["resume_step"] == 3
        assert losses(other) == pytest.approx(losses(plan), abs=1e-5)


def test_a_stopped_run_continues_to_the_same_adapter_bit_for_bit(tmp_path: Path) -> None:
    whole, stopped = small_run(tmp_path / "whole", dropout=0.1), small_run(tmp_path / "stopped", dropout=0.1, every_steps=100)
    train_here(whole, tmp_path / "agent")
    agent = tmp_path / "agent-stopped"
    agent.mkdir()
    _train_until(stopped, agent, step=4)
    assert checkpoint.newest(stopped.folder.checkpoints, stopped.sha256) is not None
    (agent / STOP).unlink()
    assert train_here(stopped, agent)["resume_step"] == 4
    assert _adapter(stopped) == _adapter(whole)
    assert losses(stopped) == losses(whole)


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


def _back_to(plan: RunPlan, step: int, root: Path) -> RunPlan:
    """A copy of a finished run as it was right after its checkpoint of `step`."""
    shutil.copytree(plan.folder.root, root / plan.folder.root.name)
    copy = plan.model_copy(update={"mounts": plan.mounts.model_copy(update={"output": str(root)})})
    shutil.rmtree(copy.folder.final)
    for folder in copy.folder.checkpoints.iterdir():
        if folder.name != f"step-{step}":
            shutil.rmtree(folder)
    return copy


def _adapter(plan: RunPlan) -> tuple[str, object]:
    final = plan.folder.final
    return sha256_file(final / "adapter_model.safetensors"), json.loads((final / "adapter_config.json").read_text())
