"""Every AdamW is AdamW, its checkpoint continues bit for bit, and what lies on the host changes no bit; all of it together is the same on two ranks."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from medfinetune_api.choices import Method, Offload, OptimizerType, Sharding, Toggle
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_training import EarlyStoppingPlan, GradualUnfreezingPlan
from medfinetune_trainer.artifacts.history import read
from medfinetune_trainer.model.loss import packed_loss
from medfinetune_trainer.optim.offload import ActivationsOnHost
from medfinetune_trainer.optim.optimizer import build_optimizer, set_learning_rate
from safetensors.torch import load_file
from support.disturbed import torn_after
from support.gang import gang
from support.models import batch, built, gradients_of, low_rank, tiny
from support.plans import lora_plan, optimizer_plan, tuning_plan
from support.train import losses, small_run, train_gang, train_here, validations
from support.watched import sent_by, sent_by_a_rank
from torch import nn
from torch.autograd.graph import save_on_cpu
from torch.optim import AdamW

BOTH = (Offload.ACTIVATIONS, Offload.OPTIMIZER)


@pytest.mark.parametrize(
    ("kind", "on_host", "tolerance"),
    [
        (OptimizerType.ADAMW, False, 0.0),
        (OptimizerType.ADAMW, True, 0.0),
        (OptimizerType.PAGED_ADAMW, False, 1e-6),
        (OptimizerType.ADAMW_8BIT, False, 3e-2),
        (OptimizerType.PAGED_ADAMW_8BIT, False, 3e-2),
    ],
)
def test_every_kind_moves_as_torchs_adamw_does(kind: OptimizerType, on_host: bool, tolerance: float) -> None:
    """Twenty steps over a matrix large enough for 8 bits, a vector, and one that gets no gradient at every other step."""
    plan = optimizer_plan(type=kind, weight_decay=0.1)
    ours, theirs = _parameters(), _parameters()
    groups = [{"params": ours[:1] + ours[2:], "lr_scale": 1.0, "weight_decay": 0.1}, {"params": ours[1:2], "lr_scale": 4.0, "weight_decay": 0.0}]
    optimizer = build_optimizer(groups, plan, on_host=on_host)
    oracle = AdamW([{"params": theirs[:1] + theirs[2:], "lr": 1e-2, "weight_decay": 0.1}, {"params": theirs[1:2], "lr": 4e-2, "weight_decay": 0.0}])
    for step in range(20):
        gradients = _parameters(seed=step + 1)
        for parameters in (ours, theirs):
            for number, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
                parameter.grad = None if number == 2 and step % 2 else gradient.detach().clone()
        set_learning_rate(optimizer, 1e-2)
        optimizer.step()
        oracle.step()
    for mine, expected in zip(ours, theirs, strict=True):
        assert float((mine - expected).detach().abs().max()) <= tolerance


@pytest.mark.parametrize(
    "changes",
    [
        {"offload": BOTH},
        {"optimizer": optimizer_plan(type=OptimizerType.ADAMW_8BIT)},
        {"optimizer": optimizer_plan(type=OptimizerType.PAGED_ADAMW)},
    ],
    ids=["on the host", "8 bits", "paged"],
)
def test_a_run_learns_and_its_checkpoint_continues_bit_for_bit(tmp_path: Path, changes: dict[str, Any]) -> None:
    plain, plan = (small_run(tmp_path / name, Sharding.NONE, lora_rank=32, **each) for name, each in (("plain", {}), ("run", changes)))
    for each in (plain, plan):
        train_here(each, tmp_path / "agent")
    assert losses(plan)[-1] < losses(plan)[0]
    assert losses(plan) == (losses(plain) if changes.get("offload") else pytest.approx(losses(plain), abs=0.05))
    continued = torn_after(plan, 3, tmp_path / "continued")
    assert train_here(continued, tmp_path / "agent-continued")["resume_step"] == 3
    assert losses(continued) == losses(plan)
    assert _same(continued, plan)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_gradients_are_the_same_with_activations_on_the_host_and_no_weight_goes_there(tmp_path: Path, checkpointed: bool) -> None:
    module = built(tiny(tmp_path / "base", "llama"), Sharding.FULL, checkpointed=checkpointed, tuning=low_rank(Method.LORA, dropout=0.2)).train()
    packed, contexts = batch((5, 20, 9)), (None, ActivationsOnHost(), save_on_cpu(pin_memory=True))
    gradients, sent = [], [sent_by(context) for context in contexts[1:] if context]
    for context in contexts:
        torch.manual_seed(0)
        with context or nullcontext():
            loss = packed_loss(module, packed, groups=2).loss
        loss.backward()
        gradients.append(gradients_of(module))
        module.zero_grad()
    assert all(gradients[0][name].equal(gradients[1][name]) for name in gradients[0])
    ours, torchs = map(set, sent)
    weights = {tuple(parameter.shape[::-1]) for parameter in module.parameters() if parameter.ndim == 2}
    assert (1, 34, 128) in ours & torchs
    assert not ours & weights
    assert torchs & weights


@pytest.mark.parametrize("sharding", [Sharding.FULL, Sharding.ADAPTERS_ONLY])
def test_a_weight_that_is_gathered_for_a_pass_does_not_go_to_the_host_either(tmp_path: Path, sharding: Sharding) -> None:
    for sent, weights in gang(2, sent_by_a_rank, tiny(tmp_path / "base", "llama"), sharding):
        assert (1, 34, 128) in sent
        assert not sent & weights


def test_all_of_it_together_is_the_same_on_two_ranks(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "offload": BOTH,
        "layer_decay": 0.5,
        "gradual_unfreezing": GradualUnfreezingPlan(layers=1, every_steps=2),
        "neftune_noise_alpha": 5.0,
        "activation_checkpointing": Toggle.ON,
        "validate_every_steps": 2,
        "early_stopping": EarlyStoppingPlan(patience=1, minimum_delta=1000.0, restore_best=True),
        "tuning": tuning_plan(lora=lora_plan(loraplus_lr_ratio=4.0)),
    }
    alone, shared = (small_run(tmp_path / name, Sharding.FULL, **changes) for name in ("alone", "shared"))
    ended = train_here(alone, tmp_path / "agent"), train_gang(shared, 2, tmp_path / "agent-shared")
    assert losses(shared) == pytest.approx(losses(alone), abs=1e-5)
    assert _norms(shared) == pytest.approx(_norms(alone), rel=1e-4)
    assert [each["all"]["loss"] for each in validations(shared)] == pytest.approx([each["all"]["loss"] for each in validations(alone)], abs=1e-5)
    assert [(each["steps"], each["stopped_early"]) for each in ended] == [(4, 1)] * 2
    assert ended[0]["best_step"] == ended[1]["best_step"]
    assert _same(shared, alone, 1e-5)


def _parameters(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(*shape, generator=generator)) for shape in ((128, 64), (64,), (64, 8))]


def _same(one: RunPlan, other: RunPlan, tolerance: float = 0.0) -> bool:
    """Whether two final adapters are equal, weight by weight."""
    found, expected = (load_file(plan.folder.final / "adapter_model.safetensors") for plan in (one, other))
    return found.keys() == expected.keys() and all(float((found[name] - expected[name]).abs().max()) <= tolerance for name in expected)


def _norms(plan: RunPlan) -> list[float]:
    return [line["gradient_norm"] for line in read(plan.folder.metrics) if line["kind"] == "step"]
