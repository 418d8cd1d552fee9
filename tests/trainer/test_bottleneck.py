"""Bottleneck adapters: the computation is the papers', ranks and shardings do not change it, and what leaves is read by plain transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from medfinetune_api.choices import Method, Placement, Quantization, Sharding
from medfinetune_api.errors import InvalidManifest, InvalidModel, OutputConflict
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_tuning import InitialAdapterPlan
from medfinetune_trainer.model.architectures import architecture_of
from medfinetune_trainer.model.attention import use_packed_attention
from medfinetune_trainer.model.bottleneck import SUBLAYERS, load_bottleneck
from medfinetune_trainer.model.build import build
from medfinetune_trainer.model.initial import initial_folder, require_initial
from medfinetune_trainer.model.initial_kinds import BOTTLENECK_CONFIG as CONFIG
from medfinetune_trainer.model.initial_kinds import BOTTLENECK_WEIGHTS as WEIGHTS
from medfinetune_trainer.model.load import load_base
from medfinetune_trainer.model.tuned import Adapter, tuning_of
from safetensors.torch import load_file, save_file
from support.disturbed import torn_after
from support.gang import gang
from support.models import CPU, assert_equal, built, plain_window, relative, run_window, tiny
from support.plans import tuning_plan
from support.train import losses, plan_for, small_run, train_gang, train_here
from support.tunings import answered, bottlenecks, logits_apart, packed_logits, prefix, trained_and_saved, windows
from torch import Tensor, nn
from transformers import PreTrainedModel

KINDS: tuple[Any, ...] = ("gemma3", "gemma3-multimodal", "llama", "qwen2", "qwen3")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("gemma3"), "gemma3", sliding_window=8)


def plain(base: Path) -> PreTrainedModel:
    """transformers alone, in fp32."""
    model: PreTrainedModel = getattr(transformers, architecture_of(base).class_name).from_pretrained(base, dtype=torch.float32)
    return model.eval()


class Written(nn.Module):
    """A sublayer written out: its own forward, and the published formula beside it."""

    def __init__(self, sublayer: nn.Module, weights: Mapping[str, Tensor], placement: Placement, scale: float) -> None:
        super().__init__()
        self.sublayer, self.weights, self.placement, self.scale = sublayer, weights, placement, scale

    def forward(self, hidden_states: Tensor, **others: Any) -> Any:
        output = self.sublayer(hidden_states, **others)
        y = output[0] if isinstance(output, tuple) else output
        x = y if self.placement is Placement.SEQUENTIAL else hidden_states
        inner = (x @ self.weights["down.weight"].T + self.weights["down.bias"]).clamp(min=0)
        h = y + self.scale * (inner @ self.weights["up.weight"].T + self.weights["up.bias"])
        return (h, None) if isinstance(output, tuple) else h


@pytest.mark.parametrize("placement", list(Placement))
@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_gradients_are_those_of_the_formula(tmp_path: Path, kind: Any, placement: Placement) -> None:
    base, tuning = tiny(tmp_path / kind, kind), bottlenecks(placement, quantization=Quantization.NONE)
    ours, oracle, ids = built(base, None, tuning=tuning), plain(base), torch.arange(10, 25)[None]
    bounds = {"cu_seqlens": torch.tensor([0, 15], dtype=torch.int32), "max_seqlen": 15}
    weights = {name: parameter.detach().clone().requires_grad_() for name, parameter in ours.named_parameters() if parameter.requires_grad}
    for index, layer in enumerate(oracle.get_submodule(architecture_of(base).layers).children()):
        for name in SUBLAYERS:
            path = f"{architecture_of(base).layers}.{index}.{name}.bottleneck."
            mine = {key.removeprefix(path): value for key, value in weights.items() if key.startswith(path)}
            setattr(layer, name, Written(layer.get_submodule(name), mine, placement, 2.0))
    found, expected = ours(input_ids=ids, **bounds).logits, oracle(input_ids=ids).logits
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(expected.logsumexp(-1).sum(), list(weights.values()))
    found.logsumexp(-1).sum().backward()
    assert len(weights) == 2 * 2 * 4
    assert all(gradient.norm() > 0 for gradient in gradients)
    for name, gradient in zip(weights, gradients, strict=True):
        written = ours.get_parameter(name).grad
        assert written is not None
        assert relative(written, gradient) < 1e-5, name


@pytest.mark.parametrize("placement", list(Placement))
def test_training_starts_from_the_base_and_switched_off_it_is_the_base(base: Path, placement: Placement) -> None:
    architecture, tuning = architecture_of(base), bottlenecks(placement)
    untuned = load_base(base, architecture, Quantization.NF4, torch.float32, CPU)
    use_packed_attention(untuned, architecture)
    expected = packed_logits(untuned)
    start, moved = built(base, None, tuning=bottlenecks(placement, moved=False)), built(base, None, tuning=tuning)
    assert all(parameter.norm() > 0 for name, parameter in start.named_parameters() if name.endswith("bottleneck.down.weight"))
    assert torch.equal(packed_logits(start), expected)
    assert relative(packed_logits(moved), expected) > 0.1
    with tuning.disabled(moved):
        assert torch.equal(packed_logits(moved), expected)


@pytest.mark.parametrize("placement", list(Placement))
def test_two_ranks_equal_one_process_with_every_sharding(base: Path, placement: Placement) -> None:
    """On NF4, with dropout, activations computed again; rows of three packed documents."""
    tuning = bottlenecks(placement, dropout=0.1)
    expected = plain_window(base, tuning=tuning)
    for ranks in zip(*gang(2, windows, base, tuning, True, 1), strict=True):
        assert_equal(list(ranks), expected)


@pytest.mark.parametrize("tuning", [bottlenecks(Placement.PARALLEL), prefix()], ids=["bottleneck", "prefix"])
def test_sixteen_bit_products_keep_fp32_gradients_near_those_of_fp32(base: Path, tuning: Adapter) -> None:
    """Sharded, and by autocast where nothing is."""
    expected = plain_window(base, tuning=tuning)
    alone = run_window(0, base, Sharding.NONE, torch.bfloat16, False, 0.0, tuning)
    for found in (alone, *gang(2, run_window, base, Sharding.FULL, torch.bfloat16, False, 0.0, tuning)):
        assert found.digests[0] == found.digests[1]
        assert found.loss == pytest.approx(expected.loss, rel=5e-3)
        assert {gradient.dtype for gradient in found.gradients.values()} == {torch.float32}
        together, apart = (torch.cat([each[name].flatten() for name in sorted(expected.gradients)]) for each in (found.gradients, expected.gradients))
        assert relative(together, apart) < 0.15


@pytest.mark.parametrize(("kind", "sharding"), [("gemma3-multimodal", Sharding.FULL), ("llama", Sharding.ADAPTERS_ONLY)])
def test_plain_transformers_give_the_trained_logits(tmp_path: Path, kind: Any, sharding: Sharding) -> None:
    base, folder, tuning = tiny(tmp_path / "base", kind), tmp_path / "adapter", bottlenecks(quantization=Quantization.NONE)
    folder.mkdir()
    trained = gang(2, trained_and_saved, base, folder, tuning, sharding)
    read = load_bottleneck(plain(base), folder)
    assert torch.equal(trained[0], trained[1])
    torch.testing.assert_close(logits_apart(read), trained[0], rtol=1e-5, atol=1e-5)
    layers = architecture_of(base).layers
    assert sorted(load_file(folder / WEIGHTS))[:2] == [f"{layers}.0.mlp.bottleneck.down.bias", f"{layers}.0.mlp.bottleneck.down.weight"]
    assert json.loads((folder / CONFIG).read_text()) == {
        "size": 6,
        "placement": "Sequential",
        "scale": 2.0,
        "dropout": 0.0,
        "format_version": 1,
        "base_model_name_or_path": "models/tiny",
        "architecture": type(read).__name__,
        "layers": layers,
        "sublayers": ["self_attn", "mlp"],
        "activation": "relu",
    }


def test_a_run_saved_by_two_ranks_goes_on_in_one(tmp_path: Path) -> None:
    tuning = tuning_plan(Method.BOTTLENECK, quantization=Quantization.NF4, bottleneck=bottlenecks(dropout=0.1).bottleneck)
    plan = small_run(tmp_path / "two", tuning=tuning)
    train_gang(plan, 2, tmp_path / "agent")
    other = torn_after(plan, 3, tmp_path / "one")
    assert train_here(other, tmp_path / "agent-one")["resume_step"] == 3
    assert losses(other) == pytest.approx(losses(plan), abs=5e-6)
    assert losses(plan)[-1] < losses(plan)[0]
    expected, found = (load_file(each.folder.final / WEIGHTS) for each in (plan, other))
    assert all(relative(found[name], value) < 1e-4 for name, value in expected.items())


@pytest.mark.parametrize("kind", ["gemma3-multimodal", "llama"])
@pytest.mark.parametrize("method", [Method.BOTTLENECK, Method.PREFIX_TUNING])
def test_training_starts_from_an_earlier_adapter_or_prepare_refuses_it(tmp_path: Path, kind: Any, method: Method) -> None:
    base, folder = tiny(tmp_path / "base", kind), tmp_path / "earlier"
    folder.mkdir()
    initial = InitialAdapterPlan(path="earlier")

    def plan(size: int) -> RunPlan:
        shape = {"bottleneck": bottlenecks(size=size).bottleneck} if method is Method.BOTTLENECK else {"prefix": prefix(size).prefix}
        return plan_for(tmp_path, base, tuning=tuning_plan(method, initial_adapter=initial, **shape))

    earlier = bottlenecks(quantization=Quantization.NONE) if method is Method.BOTTLENECK else prefix(6, quantization=Quantization.NONE)
    trained = trained_and_saved(0, base, folder, earlier, Sharding.NONE)
    require_initial(plan(6), base)
    start = build(base, tuning_of(plan(6)), torch.float32, CPU, None, packed=True, trained=initial_folder(plan(6)))
    assert torch.equal(packed_logits(start), trained)
    with pytest.raises(InvalidManifest, match=r"spec\.tuning\.(bottleneck\.size|prefix\.numVirtualTokens): found 7, while the initial adapter has \w+ 6"):
        require_initial(plan(7), base)
    with pytest.raises(InvalidModel, match="on this base"):
        require_initial(plan(6), tiny(tmp_path / "other", kind, num_hidden_layers=1, layer_types=["full_attention"]))


@pytest.mark.parametrize(("placement", "scale"), [(Placement.SEQUENTIAL, 1.0), (Placement.PARALLEL, 4.0)])
def test_it_learns(base: Path, placement: Placement, scale: float) -> None:
    before, after = answered(base, bottlenecks(placement, moved=False, size=16, scale=scale), learning_rate=5e-3)
    assert before <= 8
    assert after >= 22


def test_files_of_another_shape_base_or_make_are_refused_by_name(tmp_path: Path, base: Path) -> None:
    folder, tuning = tmp_path / "adapter", bottlenecks()
    folder.mkdir()
    trained_and_saved(0, base, folder, tuning, Sharding.NONE)
    config, weights = json.loads((folder / CONFIG).read_text()), load_file(folder / WEIGHTS)

    def refused(told: str) -> None:
        with pytest.raises(OutputConflict, match=told):
            load_bottleneck(plain(base), folder)

    for field, value in (("size", 7), ("format_version", 2), ("activation", "gelu"), ("architecture", "LlamaForCausalLM"), ("scale", "2"), ("extra", 1)):
        (folder / CONFIG).write_text(json.dumps(config | {field: value}))
        refused("weights of another base or shape" if field == "size" else "an adapter of Llama" if field == "architecture" else "cannot be read")
    (folder / CONFIG).write_text(json.dumps(config))
    save_file({name: value for name, value in weights.items() if "layers.1" in name}, folder / WEIGHTS)
    refused("weights of another base")
    (folder / WEIGHTS).write_bytes(b"torn")
    refused("cannot be read")
    with pytest.raises(OutputConflict, match="another placement and scale"):
        bottlenecks(Placement.PARALLEL, scale=1.0).load(built(base, None, tuning=tuning), folder)
