"""Windows share rows exactly once, the schedule equals its formula, FP16's scale backs off and grows, validation is a mean by language."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from medfinetune_api.choices import Schedule
from medfinetune_api.errors import Diverged
from medfinetune_api.plan_training import SchedulerPlan
from medfinetune_trainer.data.batch import PackedBatch, PackedDocument, collate
from medfinetune_trainer.optim import loss_scale
from medfinetune_trainer.optim.diverged import diverged
from medfinetune_trainer.optim.loss_scale import LossScale
from medfinetune_trainer.optim.optimizer import build_optimizer, set_learning_rate
from medfinetune_trainer.optim.parts import Parts
from medfinetune_trainer.optim.ranks import Ranks
from medfinetune_trainer.optim.schedule import learning_rate
from medfinetune_trainer.optim.step import Stepper, micro_batch_seed
from medfinetune_trainer.optim.validation import ALL, validate
from medfinetune_trainer.optim.window import Window, micro_batches, windows
from support.gang import gang
from support.models import plain_quality, tiny, validated
from support.plans import optimizer_plan
from torch import Tensor, nn
from transformers import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

SIZES = st.integers(1, 40)


@given(start=st.integers(0, 100), rows=SIZES, size=st.integers(1, 9), world_size=st.integers(1, 9))
def test_every_row_runs_exactly_once_and_every_rank_runs_equally_often(start: int, rows: int, size: int, world_size: int) -> None:
    window = range(start, start + rows)
    by_rank = [micro_batches(window, size, rank, world_size) for rank in range(world_size)]
    counted = sorted((each for passes in by_rank for each in passes if each.counts), key=lambda each: each.number)
    assert [row for each in counted for row in each.rows] == list(window)
    assert len({len(passes) for passes in by_rank}) == 1
    assert all(1 <= len(each.rows) <= size and set(each.rows) <= set(window) for passes in by_rank for each in passes)


@given(rows=SIZES, size=st.integers(1, 9), world_size=st.integers(1, 9))
def test_micro_batches_are_the_same_whatever_the_world_size(rows: int, size: int, world_size: int) -> None:
    alone = micro_batches(range(rows), size, 0, 1)
    shared = [each for rank in range(world_size) for each in micro_batches(range(rows), size, rank, world_size) if each.counts]
    assert sorted(shared, key=lambda each: each.number) == alone


@given(epochs=st.lists(SIZES, min_size=1, max_size=4), rows_per_step=st.integers(1, 15), done=st.integers(0, 30))
def test_windows_cover_each_epoch_in_order_and_continue_where_they_were_left(epochs: list[int], rows_per_step: int, done: int) -> None:
    every = list(windows(epochs, rows_per_step))
    assert len(every) == sum(math.ceil(rows / rows_per_step) for rows in epochs)
    for epoch, rows in enumerate(epochs):
        assert [row for window in every if window.epoch == epoch for row in window.rows] == list(range(rows))
    assert sum(window.ends_epoch for window in every) == len(epochs)
    assert list(windows(epochs, rows_per_step, done)) == every[done:]


@pytest.mark.parametrize(
    ("schedule", "oracle"),
    [
        (Schedule.COSINE, lambda optimizer: get_cosine_schedule_with_warmup(optimizer, 4, 20)),
        (Schedule.LINEAR, lambda optimizer: get_linear_schedule_with_warmup(optimizer, 4, 20)),
        (Schedule.CONSTANT, lambda optimizer: get_constant_schedule_with_warmup(optimizer, 4)),
    ],
)
def test_schedules_equal_transformers_after_warm_up(schedule: Schedule, oracle: object) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2e-4)
    expected = []
    scheduler = oracle(optimizer)  # type: ignore[operator]  # a lambda of the parameters above
    for _ in range(20):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    plan = SchedulerPlan(type=schedule, warmup_steps=4, minimum_ratio=0.0)
    assert [learning_rate(2e-4, plan, step, 20) for step in range(5, 21)] == pytest.approx(expected[4:], rel=1e-12)


def test_schedule_at_exact_points() -> None:
    plan = SchedulerPlan(type=Schedule.COSINE, warmup_steps=10, minimum_ratio=0.1)
    rates = {step: learning_rate(1.0, plan, step, 110) for step in (1, 5, 10, 11, 61, 111)}
    assert rates == pytest.approx({1: 0.1, 5: 0.5, 10: 1.0, 11: 1.0, 61: 0.55, 111: 0.1})


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 10_000), st.integers(0, 100)), unique=True, min_size=2, max_size=20))
def test_no_two_micro_batches_share_a_random_state(keys: list[tuple[int, int, int]]) -> None:
    seeds = [micro_batch_seed(*key) for key in keys]
    assert len(set(seeds)) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_step_draws_by_seed_step_and_micro_batch() -> None:
    drawn = {(seed, step): _dropout_losses(seed, step) for seed in (0, 1) for step in (1, 2)}
    assert len({loss for losses in drawn.values() for loss in losses}) == 8, "two of these micro-batches shared a random state"
    assert _dropout_losses(1, 2) == drawn[1, 2]


@pytest.mark.parametrize(("world_size", "micro_batch"), [(1, 1), (2, 2), (3, 1)])
def test_validation_by_language_equals_the_mean_over_each_languages_tokens(tmp_path: Path, world_size: int, micro_batch: int) -> None:
    """Two rows, so that one of several ranks has none of its own."""
    base = tiny(tmp_path / "base", "llama")
    expected = plain_quality(base)
    assert expected["en"][2] != expected["ko"][2]
    for found in gang(world_size, validated, base, micro_batch):
        assert list(found) == ["en", "ko", ALL]
        for language, figures in expected.items():
            assert found[language] == pytest.approx(figures, rel=1e-5)


def test_loss_scale_grows_after_clean_steps_and_stays_one_where_it_is_not_dynamic() -> None:
    scale, fixed = LossScale.fresh(dynamic=True), LossScale.fresh(dynamic=False)
    for _ in range(loss_scale.GROWTH_STEPS):
        scale.stepped()
        fixed.stepped()
    assert (scale.scale, scale.clean_steps) == (2 * loss_scale.INITIAL, 0)
    assert fixed.scale == 1.0


def test_an_fp16_overflow_skips_the_step_and_halves_the_scale() -> None:
    weight = nn.Parameter(torch.tensor([[1.0]]))
    stepper = _stepper(weight, factor=1e34, scale=LossScale.fresh(dynamic=True))
    figures = stepper.step(Window(1, 0, range(1), ends_epoch=True), _OneRow())
    assert figures.gradient_norm is None
    assert weight.item() == 1.0
    assert stepper.scale.scale == loss_scale.INITIAL / 2
    for step in range(2, 20):
        norm = stepper.step(Window(step, 0, range(1), ends_epoch=True), _OneRow()).gradient_norm
    assert norm == pytest.approx(1e34, rel=1e-5)
    assert weight.item() < 1.0


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_step_rows_and_documents_and_changes_nothing(factor: float) -> None:
    weight = nn.Parameter(torch.tensor([[1.0]]))
    with pytest.raises(Diverged) as refusal:
        _stepper(weight, factor, LossScale.fresh(dynamic=False)).step(Window(7, 2, range(1), ends_epoch=True), _OneRow())
    found = f"a loss of {factor} in rows 0 of epoch 3, documents 0 (medqa), 100 (kormedmcqa)"
    assert (refusal.value.where, refusal.value.found) == ("step 7", found)
    assert weight.item() == 1.0


def test_a_gradient_that_is_not_finite_names_the_rows_of_the_greatest_losses_first_and_changes_nothing() -> None:
    weight = nn.Parameter(torch.tensor([[1.0]]))
    stepper, losses = _stepper(weight, 1.0, LossScale.fresh(dynamic=False)), iter([2.0, 5.0, 3.0])
    parts = replace(stepper.parts, loss=lambda *_: _Sums(weight, next(losses)), clip_grad_norm=lambda *_: math.inf)
    with pytest.raises(Diverged) as refusal:
        replace(stepper, parts=parts).step(Window(2, 0, range(4, 7), ends_epoch=True), _OneRow())
    assert refusal.value.found.startswith("a gradient norm of inf in rows 5, 6, 4 of epoch 1, documents 5 (medqa), 105 (kormedmcqa), 6 (medqa), ")
    assert weight.item() == 1.0


@given(losses=st.lists(st.sampled_from([math.nan, math.inf, -math.inf]) | st.floats(0, 9), min_size=1, max_size=20))
def test_a_divergence_names_at_most_eight_rows_and_only_the_broken_ones(losses: list[float]) -> None:
    passes = [(range(2 * i, 2 * i + 2), loss) for i, loss in enumerate(losses)]
    broken = [row for rows, loss in passes if not math.isfinite(loss) for row in rows] or [row for rows, _ in passes for row in rows]
    refusal = diverged("step 1", "a loss", passes, _OneRow(), Ranks(0, 1), index="epoch 1", remedy="Look.")
    rows, documents = refusal.found.removeprefix("a loss in rows ").split(" of epoch 1, documents ")
    named = [int(row) for row in rows.split(" and ")[0].split(", ")]
    assert set(named) <= set(broken)
    assert len(named) == min(8, len(broken))
    assert documents.count("(") == min(8, 2 * len(named))
    assert refusal.where == "step 1"


def test_a_validation_that_is_not_finite_names_its_rows_and_documents() -> None:
    stepper = _stepper(nn.Parameter(torch.tensor([[1.0]])), 1.0, LossScale.fresh(dynamic=False))
    weight, losses = torch.ones(1), iter([1.0, math.nan])
    parts = replace(stepper.parts, loss=lambda *_: _Sums(weight, next(losses)))
    with pytest.raises(Diverged) as refusal:
        validate(parts, _Several(2), ("en",), Ranks(0, 1), micro_batch=1)
    assert refusal.value.found == "a loss of nan in rows 1 of the held-out index, documents 1 (medqa), 101 (kormedmcqa)"


@pytest.mark.parametrize(("step", "remedy"), [(1, "the base's weights"), (2, "learningRate")])
def test_what_is_not_finite_before_any_update_is_not_blamed_on_the_rate(step: int, remedy: str) -> None:
    stepper = _stepper(nn.Parameter(torch.tensor([[1.0]])), math.nan, LossScale.fresh(dynamic=False))
    with pytest.raises(Diverged) as refusal:
        stepper.step(Window(step, 0, range(1), ends_epoch=True), _OneRow())
    assert remedy in refusal.value.remedy


class _Sums:
    """The loss `factor * weight`, of one token."""

    def __init__(self, weight: Tensor, factor: float) -> None:
        self.loss = weight.sum() * factor
        self.group_loss, self.group_correct, self.group_tokens = (
            self.loss.detach().reshape(1),
            torch.zeros(1, dtype=torch.int64),
            torch.ones(1, dtype=torch.int64),
        )


class _OneRow:
    """However many rows are asked for, they are alike."""

    def __len__(self) -> int:
        return 1

    def batch(self, rows: range) -> PackedBatch:
        return collate([PackedDocument([1, 2], [0, 1], 0) for _ in rows])

    def documents(self, row: int) -> list[tuple[int, str]]:
        return [(row, "medqa"), (100 + row, "kormedmcqa")]


class _Several(_OneRow):
    """Several of them."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count


def _dropout_losses(seed: int, step: int) -> list[float]:
    """The losses of a step's two micro-batches over the same row, where only dropout tells them apart."""
    weight, losses = nn.Parameter(torch.linspace(0.0, 1.0, 1000)), []

    def loss(_module: nn.Module, _batch: PackedBatch) -> _Sums:
        sums = _Sums(nn.functional.dropout(weight, 0.5), 1.0)
        losses.append(sums.loss.item())
        return sums

    fixed = _stepper(weight, 1.0, LossScale.fresh(dynamic=False))
    replace(fixed, parts=replace(fixed.parts, loss=loss), seed=seed).step(Window(step, 0, range(2), ends_epoch=True), _OneRow())
    assert len(losses) == 2
    return losses


def _stepper(weight: nn.Parameter, factor: float, scale: LossScale) -> Stepper:
    module = nn.Module()
    module.register_parameter("weight", weight)
    parts = Parts(
        module,
        torch.device("cpu"),
        loss=lambda _module, _batch: _Sums(weight, factor),
        gradient_sync=lambda _module, _enabled: None,
        clip_grad_norm=lambda each, norm: float(nn.utils.clip_grad_norm_(each.parameters(), norm)),
    )
    optimizer = build_optimizer([{"params": [weight], "lr_scale": 1.0, "weight_decay": 0.0}], optimizer_plan())
    set_learning_rate(optimizer, 0.1)
    return Stepper(parts, optimizer, scale, Ranks(0, 1), micro_batch=1, max_grad_norm=1.0, seed=0)
