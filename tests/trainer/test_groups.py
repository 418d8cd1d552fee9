"""Which parameter learns when and how fast: LoRA+ as PEFT has it, decay by layer, gradual unfreezing; and NEFTune's noise for each document."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from medfinetune_api.choices import Method
from medfinetune_api.plan_training import GradualUnfreezingPlan
from medfinetune_trainer.artifacts.history import read
from medfinetune_trainer.model.neftune import add_neftune
from medfinetune_trainer.optim.groups import SCALE, Depths, parameter_groups
from medfinetune_trainer.optim.optimizer import build_optimizer, set_learning_rate
from peft.optimizers import create_loraplus_optimizer
from support.disturbed import torn_after
from support.models import adapted, batch, tiny
from support.plans import lora_plan, optimizer_plan, tuning_plan
from support.train import losses, small_run, train_here
from support.watched import steps_watched
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from transformers.integrations.neftune import neftune_post_forward_hook

LLAMA = ("model.layers", "model.embed_tokens")


@pytest.mark.parametrize("use_dora", [False, True])
def test_loraplus_has_the_groups_of_peft(tmp_path: Path, use_dora: bool) -> None:
    """But for DoRA's magnitudes, which PEFT would let decay, as it lets no other vector."""
    model = adapted(tiny(tmp_path / "base", "llama"), Method.LORA, use_dora=use_dora)
    peft = create_loraplus_optimizer(model, AdamW, lr=1e-3, loraplus_lr_ratio=8.0, loraplus_weight_decay=0.1)
    depths = Depths.of((name for name, _ in model.named_parameters()), *LLAMA)
    ours = build_optimizer(parameter_groups(model, depths, layer_decay=1.0, loraplus_ratio=8.0, weight_decay=0.1), optimizer_plan())
    set_learning_rate(ours, 1e-3)
    expected, found = _constants(peft), _constants(ours)
    assert found.keys() == expected.keys() == {parameter for parameter in model.parameters() if parameter.requires_grad}
    assert {rate for rate, _ in found.values()} == {1e-3, 8e-3}
    for parameter, (rate, decay) in found.items():
        assert rate == pytest.approx(expected[parameter][0], rel=1e-12)
        assert decay == (expected[parameter][1] if parameter.ndim >= 2 else 0.0)


@pytest.mark.parametrize("prefix", ["", "module.", "module.base_model.model."])
def test_each_layer_learns_slower_than_the_one_after_it(prefix: str) -> None:
    """As a multimodal model has its names, whose vision tower has layers of its own."""
    depths = {
        "model.language_model.embed_tokens.weight": 3,
        "model.language_model.layers.0.self_attn.q_proj.weight": 3 - 1,
        "model.language_model.layers.2.mlp.down_proj.weight": 0,
        "model.language_model.layers.2.input_layernorm.weight": 0,
        "model.language_model.norm.weight": 0,
        "lm_head.weight": 0,
        "model.vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight": 0,
    }
    names = [prefix + name for name in depths]
    found = Depths.of(names, "model.language_model.layers", "model.language_model.embed_tokens")
    assert [found.depth(name) for name in names] == list(depths.values())


def test_a_groups_rate_is_the_schedules_times_both_factors(tmp_path: Path) -> None:
    model = adapted(tiny(tmp_path / "base", "llama"), Method.LORA)
    depths = Depths.of((name for name, _ in model.named_parameters()), *LLAMA)
    groups = parameter_groups(model, depths, layer_decay=0.5, loraplus_ratio=8.0, weight_decay=0.1)
    names = {parameter: name for name, parameter in model.named_parameters()}
    scales = {names[parameter]: group[SCALE] for group in groups for parameter in group["params"]}
    path = "base_model.model.model.layers.{}.mlp.up_proj.lora_{}.default.weight"
    assert [scales[path.format(layer, matrix)] for layer in (0, 1) for matrix in "AB"] == [0.5, 4.0, 1.0, 8.0]


def test_layers_join_from_the_last_down_and_nothing_moves_before(tmp_path: Path) -> None:
    """Weight decay would betray a layer that is only half frozen. A checkpoint of before then continues as if nothing had happened."""
    unfreezing = GradualUnfreezingPlan(layers=1, every_steps=3)
    plan = small_run(tmp_path / "run", every_steps=2, keep=3, gradual_unfreezing=unfreezing, optimizer=optimizer_plan(weight_decay=0.1))
    with steps_watched() as moments:
        train_here(plan, tmp_path / "agent")
    assert [moment.moved(".layers.1.") for moment in moments] == [True] * 6
    assert [moment.moved(".layers.0.") for moment in moments] == [False] * 3 + [True] * 3
    assert losses(plan)[-1] < losses(plan)[0]
    continued = torn_after(plan, 2, tmp_path / "continued")
    assert train_here(continued, tmp_path / "agent-continued")["resume_step"] == 2
    assert losses(continued) == losses(plan)


def test_the_norm_that_is_clipped_is_that_of_what_trains(tmp_path: Path) -> None:
    plans = [small_run(tmp_path / f"{layers}", gradual_unfreezing=GradualUnfreezingPlan(layers=layers, every_steps=100)) for layers in (1, 2)]
    for plan in plans:
        train_here(plan, tmp_path / "agent")
    last, all_layers = (next(line["gradient_norm"] for line in read(plan.folder.metrics) if line["kind"] == "step") for plan in plans)
    assert losses(plans[0])[0] == losses(plans[1])[0]
    assert last < 0.95 * all_layers


def test_loraplus_and_layer_decay_reach_the_run_and_it_learns(tmp_path: Path) -> None:
    tuning = tuning_plan(lora=lora_plan(loraplus_lr_ratio=8.0))
    plain, plan = small_run(tmp_path / "plain", learning_rate=1e-3), small_run(tmp_path / "run", learning_rate=1e-3, layer_decay=0.5, tuning=tuning)
    rates = {}
    for each in (plain, plan):
        with steps_watched() as moments:
            train_here(each, tmp_path / f"agent-{each.sha256[:8]}")
        rates[each.sha256] = {name: float((moments[0].after[name] - old).abs().max()) for name, old in moments[0].before.items()}
    path = "base_model.model.model.layers.{}.mlp.up_proj.lora_{}.default.weight"
    ratios = [rates[plan.sha256][path.format(layer, "B")] / rates[plain.sha256][path.format(layer, "B")] for layer in (0, 1)]
    assert ratios == pytest.approx([4.0, 8.0], rel=1e-3)  # Adam's first step is the rate itself
    assert losses(plan)[-1] < min(losses(plan)[0], losses(plain)[-1])


def test_noise_has_each_documents_own_scale_in_training_and_there_alone(tmp_path: Path) -> None:
    """Packed documents get what transformers' hook gives each of them alone; the row's length, 34 tokens, would halve the noise of the shortest."""
    model, alpha, lengths = adapted(tiny(tmp_path / "base", "llama"), Method.LORA), 15.0, (5, 20, 9)
    embedding = model.get_submodule("base_model.model.model.embed_tokens")
    packed, heard = batch(lengths), []
    clean = embedding(packed.input_ids).detach()
    add_neftune(model, "model.embed_tokens", alpha)
    embedding.register_forward_hook(lambda _module, _args, output: heard.append(output.detach()))

    def run() -> Tensor:
        torch.manual_seed(3)
        model(input_ids=packed.input_ids, position_ids=packed.position_ids, use_cache=False, cu_seqlens=packed.cu_seqlens, max_seqlen=packed.max_seqlen)
        return heard[-1]

    model.train()
    noisy = run()
    torch.manual_seed(3)
    expected = [neftune_post_forward_hook(embedding, (), document) for document in clean.split(lengths, dim=1)]
    assert torch.equal(noisy, torch.cat(expected, dim=1))
    for document, length in zip((noisy - clean).split(lengths, dim=1), lengths, strict=True):
        bound = alpha / math.sqrt(length * clean.shape[-1])
        assert 0.95 * bound < float(document.abs().max()) <= bound * (1 + 1e-5)
    model.eval()
    assert torch.equal(run(), clean)


def test_noise_is_in_a_runs_training_loss_and_not_in_its_validation(tmp_path: Path) -> None:
    noisy, plain = small_run(tmp_path / "noisy", neftune_noise_alpha=500.0, learning_rate=1e-9), small_run(tmp_path / "plain", learning_rate=1e-9)
    ended = {each: train_here(each, tmp_path / f"agent-{i}") for i, each in enumerate((noisy, plain))}
    assert losses(noisy) != pytest.approx(losses(plain), abs=1e-4)
    assert ended[noisy]["validation_perplexity_all"] == pytest.approx(ended[plain]["validation_perplexity_all"], rel=1e-6)


def _constants(optimizer: Optimizer) -> dict[nn.Parameter, tuple[float, float]]:
    return {parameter: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for parameter in group["params"]}
