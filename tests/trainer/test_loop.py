"""The loop does what the plan says of its steps: the learning rate's course, and activation checkpointing that changes memory alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import cos, pi
from pathlib import Path
from typing import Any

import pytest
from medfinetune_api.choices import Toggle
from medfinetune_trainer.artifacts.history import read
from support.train import losses, small_run, train_here
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers.models.llama.modeling_llama import LlamaMLP


@contextmanager
def rates_applied() -> Iterator[list[float]]:
    """The learning rate of every optimizer step within the block, as the optimizer has it."""
    rates: list[float] = []

    def note(optimizer: Optimizer, *_: Any) -> None:
        rates.append(optimizer.param_groups[0]["lr"])

    handle = register_optimizer_step_pre_hook(note)
    try:
        yield rates
    finally:
        handle.remove()


@contextmanager
def training_forwards() -> Iterator[list[str]]:
    """One entry for each run of a layer's feed-forward block in training mode within the block, the recomputed ones too."""
    calls: list[str] = []

    def note(module: nn.Module, *_: Any) -> None:
        if isinstance(module, LlamaMLP) and module.training:
            calls.append(type(module).__name__)

    handle = register_module_forward_pre_hook(note)
    try:
        yield calls
    finally:
        handle.remove()


def test_every_step_has_the_rate_of_warm_up_and_cosine(tmp_path: Path) -> None:
    plan = small_run(tmp_path / "run")
    with rates_applied() as applied:
        train_here(plan, tmp_path / "agent")
    rising = [1e-2 * 1 / 2, 1e-2]
    falling = [1e-2 * (0.1 + 0.9 * (1 + cos(pi * done / 4)) / 2) for done in range(4)]
    assert applied == pytest.approx(rising + falling, rel=1e-12)
    assert [line["learning_rate"] for line in read(plan.folder.metrics) if line["kind"] == "step"] == applied


def test_checkpointed_activations_are_recomputed_and_change_no_loss(tmp_path: Path) -> None:
    forwards = {}
    for toggle in (Toggle.OFF, Toggle.ON):
        plan = small_run(tmp_path / toggle.value, dropout=0.3, activation_checkpointing=toggle)
        with training_forwards() as calls:
            train_here(plan, tmp_path / f"agent-{toggle.value}")
        forwards[toggle] = (len(calls), losses(plan))
    assert forwards[Toggle.ON][0] == 2 * forwards[Toggle.OFF][0] > 0
    assert forwards[Toggle.ON][1] == pytest.approx(forwards[Toggle.OFF][1], abs=1e-6)
