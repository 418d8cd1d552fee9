"""Where the accelerator's memory runs out, the micro-batch that is ours to choose is halved, and the steps stay what they were."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from medfinetune_api.choices import Sharding, Stage
from medfinetune_api.errors import OutOfMemory
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_trainer.artifacts.files import sha256_file
from medfinetune_trainer.artifacts.history import read
from medfinetune_trainer.optim.fitting import PassTooLarge
from medfinetune_trainer.stages import node
from medfinetune_trainer.stages.outcome import outcome_of
from medfinetune_trainer.stages.prepared import MICRO_BATCH
from medfinetune_trainer.stages.train import run
from medfinetune_trainer.telemetry.snapshot import read_snapshots
from support.gang import gang
from support.small_card import card, of, shrinking, small_in_validation, train_rank_on_card
from support.train import losses, small_run, train_here, validations
from torch.optim.optimizer import register_optimizer_step_pre_hook

ROW = 64
"""Tokens that a row holds; two rows hold more."""


def four_rows_a_step(root: Path, micro_batch: int | str = "Auto", **changes: Any) -> RunPlan:
    """Auto stands for the four rows of a whole step."""
    return small_run(root, documents=40, global_batch_tokens=4 * ROW, micro_batch=micro_batch, **({"dropout": 0.3} | changes))


def adapter(plan: RunPlan) -> str:
    return sha256_file(plan.folder.final / "adapter_model.safetensors")


def halvings(plan: RunPlan) -> list[tuple[int, int, int | None]]:
    """(rows that did not fit, rows after, step) of every line that tells of one."""
    lines = (line for line in read(plan.folder.metrics) if line["kind"] == "out_of_memory")
    return [(line["micro_batch"], line["next_micro_batch"], line.get("in_step")) for line in lines]


@pytest.mark.parametrize(("tokens", "fitting", "told"), [(2 * ROW, 2, [(4, 2, 1)]), (ROW, 1, [(4, 2, 1), (2, 1, 1)])])
def test_a_run_that_had_to_halve_at_once_is_the_run_of_the_smaller_micro_batch_bit_for_bit(
    tmp_path: Path, tokens: int, fitting: int, told: list[tuple[int, int, int]]
) -> None:
    small, undisturbed = four_rows_a_step(tmp_path / "small"), four_rows_a_step(tmp_path / "undisturbed", fitting)
    with card(of(tokens)):
        numbers = train_here(small, tmp_path / "agent")
    train_here(undisturbed, tmp_path / "agent-undisturbed")
    assert (losses(small), validations(small), adapter(small)) == (losses(undisturbed), validations(undisturbed), adapter(undisturbed))
    assert halvings(small) == told
    assert (numbers["micro_batch"], numbers["out_of_memory"]) == (fitting, len(told))
    assert [(each.micro_batch, each.out_of_memory) for each in read_snapshots(tmp_path / "agent")] == [(fitting, len(told))]


def test_a_step_that_runs_out_in_the_middle_is_taken_again_as_if_it_had_begun_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its oracle is a run that was stopped before this step and continued with the smaller micro-batch. Each step has two passes of two rows."""
    plan, oracle = (four_rows_a_step(tmp_path / name, every_steps=2, keep=9) for name in ("shrunk", "oracle"))
    monkeypatch.setenv(MICRO_BATCH, "2")
    with card(shrinking(passes=5, tokens=ROW)):
        train_here(plan, tmp_path / "agent")
    train_here(oracle, tmp_path / "agent-oracle")
    for later in [oracle.folder.final, *(path for path in oracle.folder.checkpoints.glob("step-*") if path.name != "step-2")]:
        shutil.rmtree(later)
    monkeypatch.setenv(MICRO_BATCH, "1")
    train_here(oracle, tmp_path / "agent-continued")
    assert halvings(plan) == [(2, 1, 3)]
    assert (losses(plan), adapter(plan)) == (losses(oracle), adapter(oracle))


def test_without_dropout_the_steps_are_those_of_any_micro_batch_also_where_validation_runs_out(tmp_path: Path) -> None:
    plan, undisturbed = four_rows_a_step(tmp_path / "small", dropout=0.0), four_rows_a_step(tmp_path / "undisturbed", 4, dropout=0.0)
    with card(small_in_validation(ROW)):
        train_here(plan, tmp_path / "agent")
    train_here(undisturbed, tmp_path / "agent-undisturbed")
    assert [rows for rows, *_ in halvings(plan)] == [4, 2]
    assert losses(plan) == pytest.approx(losses(undisturbed), abs=1e-5)
    for found, expected in zip(validations(plan), validations(undisturbed), strict=True):
        assert found["all"]["loss"] == pytest.approx(expected["all"]["loss"], abs=1e-5)


@pytest.mark.parametrize(
    ("micro_batch", "tokens", "rows", "remedy"),
    [(4, 2 * ROW, 4, "Lower spec.training.microBatch, or set it to Auto"), ("Auto", ROW / 64, 1, "activationCheckpointing")],
)
def test_a_micro_batch_that_the_user_wrote_and_one_of_one_row_are_refused_with_what_helps(
    tmp_path: Path, micro_batch: int | str, tokens: float, rows: int, remedy: str
) -> None:
    plan = four_rows_a_step(tmp_path / "run", micro_batch)
    with card(of(tokens)), pytest.raises(PassTooLarge) as refusal:
        train_here(plan, tmp_path / "agent")
    outcome = outcome_of(refusal.value, 0, Stage.TRAIN)
    assert (outcome.exit_code, outcome.numbers) == (Exit.OUT_OF_MEMORY, {"micro_batch": rows})
    assert remedy in outcome.message
    assert ("microBatch" in outcome.message) == (rows > 1)
    assert not plan.folder.final.exists()


def test_an_update_that_does_not_fit_is_refused_and_not_taken_twice(tmp_path: Path) -> None:
    plan, tried = four_rows_a_step(tmp_path / "run"), []

    def full(*_: object) -> None:
        tried.append(1)
        raise torch.OutOfMemoryError

    handle = register_optimizer_step_pre_hook(full)
    try:
        with pytest.raises(OutOfMemory) as refusal:
            train_here(plan, tmp_path / "agent")
    finally:
        handle.remove()
    assert not isinstance(refusal.value, PassTooLarge)
    assert (len(tried), halvings(plan)) == (1, [])


def test_a_rank_of_a_gang_halves_nothing_but_tells_how_many_rows_did_not_fit(tmp_path: Path) -> None:
    plan = four_rows_a_step(tmp_path / "run")
    for rows, found in gang(2, train_rank_on_card, plan.to_json(), str(tmp_path / "agent"), 1):
        assert rows == 4
        assert "4 rows" in found


@pytest.mark.parametrize(("micro_batch", "room", "code", "tried"), [("Auto", 1, 0, [(4, 2), (2, 1)]), ("Auto", 0, 76, [(4, 2), (2, 1)]), (4, 1, 76, [])])
def test_a_gang_of_one_node_begins_again_with_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro_batch: int | str, room: int, code: int, tried: list[tuple[int, int]]
) -> None:
    """The agent is real, its ranks are light ones: how a rank behaves is shown above."""
    plan = four_rows_a_step(tmp_path / "run", micro_batch)
    monkeypatch.setattr(node, "WORKER", "support.light_rank")
    light = {"PYTHONPATH": str(Path(__file__).parents[1]), "LIGHT_RANKS": "card,card", "LIGHT_CARD": str(room), MICRO_BATCH: "4", "PET_NPROC_PER_NODE": "2"}
    for name, value in light.items():
        monkeypatch.setenv(name, value)
    result = run(plan)
    assert (result.exit_code, result.numbers["micro_batch"]) == (code, tried[-1][1] if tried else 4)
    assert [(rows, following) for rows, following, _ in halvings(plan)] == tried


def test_halvings_of_earlier_gangs_are_counted(tmp_path: Path) -> None:
    plan = four_rows_a_step(tmp_path / "run")
    plan.folder.metrics.write_text('{"kind": "out_of_memory", "micro_batch": 8, "next_micro_batch": 4}\n')
    assert train_here(plan, tmp_path / "agent")["out_of_memory"] == 1
    assert math.isfinite(losses(plan)[-1])


def test_sharded_alone_is_not_alone(tmp_path: Path) -> None:
    """FSDP, even over one rank, keeps state between the hooks of a pass: one that broke off cannot be done again."""
    plan = small_run(tmp_path / "run", Sharding.FULL, micro_batch="Auto")
    [(rows, _)] = gang(1, train_rank_on_card, plan.to_json(), str(tmp_path / "agent"), ROW)
    assert rows == 3
