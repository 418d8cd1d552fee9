"""A base is loaded whole, in the storage that sharding needs, or refused; and evaluation never repacks it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import bitsandbytes as bnb
import pytest
import torch
import transformers
from medfinetune_api.choices import Quantization
from medfinetune_api.errors import InvalidModel
from medfinetune_trainer.model.adapter import base_digest
from medfinetune_trainer.model.architectures import architecture_of
from medfinetune_trainer.model.load import load_base
from medfinetune_trainer.model.loss import packed_loss
from safetensors.torch import load_file, save_file
from support.models import CPU, adapted, batch, tiny
from torch import Tensor
from transformers import BitsAndBytesConfig, PreTrainedModel

Change = Callable[[dict[str, Tensor]], object]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("multimodal"), "gemma3-multimodal")


def changed(base: Path, folder: Path, change: Change) -> Path:
    shutil.copytree(base, folder)
    weights = load_file(base / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def plain(folder: Path, quantization: Quantization) -> PreTrainedModel:
    """The oracle: transformers alone."""
    nf4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": torch.bfloat16}
    architecture = architecture_of(folder)
    config = BitsAndBytesConfig(**nf4, llm_int8_skip_modules=list(architecture.never_adapted)) if quantization is Quantization.NF4 else None
    kind: type[PreTrainedModel] = getattr(transformers, architecture.class_name)
    return kind.from_pretrained(folder, dtype=torch.bfloat16, quantization_config=config).requires_grad_(False)


@pytest.mark.parametrize("quantization", Quantization)
@pytest.mark.parametrize("kind", ["gemma3", "gemma3-multimodal", "llama", "qwen2", "qwen3"])
def test_a_base_is_loaded_to_the_bit_as_transformers_loads_it(tmp_path: Path, kind: Any, quantization: Quantization) -> None:
    folder = tiny(tmp_path / kind, kind)
    expected, found = plain(folder, quantization), load_base(folder, architecture_of(folder), quantization, torch.bfloat16, CPU)
    assert base_digest(found) == base_digest(expected)
    kinds = [{name: (type(each), each.dtype) for name, each in model.named_parameters(remove_duplicate=False)} for model in (found, expected)]
    assert kinds[0] == kinds[1]
    buffers = [dict(model.named_buffers()) for model in (found, expected)]
    assert buffers[0].keys() == buffers[1].keys()
    assert all(torch.equal(buffers[0][name], buffer) and buffers[0][name].dtype is buffer.dtype for name, buffer in buffers[1].items())
    assert not found.training
    assert found.config.tie_word_embeddings == (found.get_output_embeddings().weight is found.get_input_embeddings().weight)


def test_shards_and_the_names_of_today_make_the_same_base(base: Path, tmp_path: Path) -> None:
    """Published multimodal checkpoints begin with language_model.model., newer ones with model.language_model."""
    folder = shutil.copytree(base, tmp_path / "sharded")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    assert any(name.startswith("language_model.model.") for name in weights)
    today = {
        re.sub("^language_model.model.", "model.language_model.", re.sub("^(vision_tower|multi_modal)", r"model.\1", name)): weights[name] for name in weights
    }
    index = {name: f"{number % 2}.safetensors" for number, name in enumerate(today)}
    for shard in set(index.values()):
        save_file({name: today[name] for name in today if index[name] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    digests = [base_digest(load_base(each, architecture_of(each), Quantization.NF4, torch.bfloat16, CPU)) for each in (base, folder)]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(("value", "dtype"), [(torch.nan, torch.float32), (-torch.inf, torch.bfloat16), (1e5, torch.float16)])
@pytest.mark.parametrize("name", ["layers.1.mlp.up_proj.weight", "layers.0.input_layernorm.weight", "embed_tokens.weight"])
def test_weights_that_are_not_finite_where_they_are_used_are_refused_by_name(base: Path, tmp_path: Path, name: str, value: float, dtype: torch.dtype) -> None:
    def spoil(weights: dict[str, Tensor]) -> None:
        next(weights[key] for key in weights if key.endswith(name)).view(-1)[3] = value

    folder = changed(base, tmp_path / "spoilt", spoil)
    with pytest.raises(InvalidModel, match=rf"model\.safetensors: found NaN or infinite values in language_model\.model\.{name}"):
        load_base(folder, architecture_of(folder), Quantization.NF4, dtype, CPU)


def test_tied_weights_that_are_stored_twice_must_be_equal(base: Path, tmp_path: Path) -> None:
    def twice(weights: dict[str, Tensor], factor: float) -> None:
        weights["language_model.lm_head.weight"] = weights["language_model.model.embed_tokens.weight"] * factor

    same, other = (changed(base, tmp_path / str(factor), partial(twice, factor=factor)) for factor in (1.0, 2.0))
    model = load_base(same, architecture_of(same), Quantization.NONE, torch.float32, CPU)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    with pytest.raises(InvalidModel, match=r"embed_tokens\.weight and lm_head\.weight with different values"):
        load_base(other, architecture_of(other), Quantization.NONE, torch.float32, CPU)


def test_weights_that_are_quantised_already_are_refused(base: Path, tmp_path: Path) -> None:
    folder = changed(
        base, tmp_path / "fp8", lambda weights: weights.update({name: weights[name].to(torch.float8_e4m3fn) for name in weights if "up_proj" in name})
    )
    with pytest.raises(InvalidModel, match=r"up_proj\.weight stored as F8_E4M3"):
        load_base(folder, architecture_of(folder), Quantization.NF4, torch.float32, CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_only_the_language_model_is_quantised_to_nf4_in_uint8(base: Path, dtype: torch.dtype) -> None:
    model = load_base(base, architecture_of(base), Quantization.NF4, dtype, CPU)
    quantised = {name: module for name, module in model.named_modules() if isinstance(module, bnb.nn.Linear4bit)}
    assert len(quantised) == 14
    assert all(name.startswith("model.language_model.layers.") for name in quantised)
    for module in quantised.values():
        state = module.quant_state
        assert (module.weight.dtype, state.quant_type, state.nested, module.compute_dtype) == (torch.uint8, "nf4", True, dtype)
    others = {parameter.dtype for name, parameter in model.named_parameters() if not any(name.startswith(f"{each}.") for each in quantised)}
    assert others == {dtype}
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.config.text_config.use_cache


def test_lora_keeps_the_base_unquantised(base: Path) -> None:
    model = load_base(base, architecture_of(base), Quantization.NONE, torch.bfloat16, CPU)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("quantization", Quantization)
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda weights: weights.pop(next(name for name in weights if "layers.1.mlp.up_proj" in name)), "1 weights missing.*up_proj"),
        (lambda weights: weights.pop(next(name for name in weights if name.endswith("norm.weight") and "layers" not in name)), "1 weights missing"),
        (lambda weights: weights.update({name: torch.zeros(3, 3) for name in weights if "layers.0.self_attn.k_proj" in name}), "of another shape.*k_proj"),
        (lambda weights: weights.update({"model.language_model.layers.7.mlp.up_proj.weight": torch.zeros(3, 3)}), "unknown to the architecture.*layers.7"),
        (lambda weights: [weights.pop(name) for name in list(weights) if "vision" in name], "weights missing.*vision"),
    ],
)
def test_a_load_that_would_leave_weights_at_random_is_refused(base: Path, tmp_path: Path, change: Change, problem: str, quantization: Quantization) -> None:
    folder = changed(base, tmp_path / "changed", change)
    with pytest.raises(InvalidModel, match=problem):
        load_base(folder, architecture_of(folder), quantization, torch.float32, CPU)


def test_weights_of_another_layout_are_refused(base: Path, tmp_path: Path) -> None:
    """A multimodal checkpoint under a text config: transformers would initialise every weight at random."""
    folder = tiny(tmp_path / "text", "gemma3")
    shutil.copy(base / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(InvalidModel, match="weights missing"):
        load_base(folder, architecture_of(folder), Quantization.NF4, torch.float32, CPU)


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda _: b"", lambda data: b"\xff" * 64 + data])
def test_damaged_weights_are_refused(base: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    folder = shutil.copytree(base, tmp_path / "damaged")
    file = folder / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InvalidModel, match="cannot be read"):
        load_base(folder, architecture_of(folder), Quantization.NF4, torch.float32, CPU)


def test_a_missing_shard_is_refused(base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "sharded")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text('{"metadata": {}, "weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}')
    with pytest.raises(InvalidModel, match="cannot be read"):
        load_base(folder, architecture_of(folder), Quantization.NF4, torch.float32, CPU)


@pytest.mark.parametrize("change", [{"hidden_size": "many"}, {"num_hidden_layers": None}, {"layer_types": ["none"]}, {"hidden_activation": "nosuch"}])
def test_a_config_that_transformers_refuses_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    folder = tiny(tmp_path / "base", "gemma3")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(InvalidModel, match="transformers refuses"):
        load_base(folder, architecture_of(folder), Quantization.NF4, torch.float32, CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_evaluation_in_the_middle_leaves_the_base_and_the_gradients(base: Path, dtype: torch.dtype) -> None:
    """bitsandbytes repacks a 4-bit weight in its first forward in eval mode where the processor has AVX512-BF16."""
    model = adapted(base, dtype=dtype).train()
    before, packed = base_digest(model), batch((5, 9))

    def gradients() -> list[Tensor]:
        losses = packed_loss(model, packed, 2).loss
        return list(torch.autograd.grad(losses, [parameter for parameter in model.parameters() if parameter.requires_grad]))

    expected = gradients()
    with torch.no_grad():
        packed_loss(model.eval(), packed, 2)
    model.train()
    assert all(torch.equal(*pair) for pair in zip(gradients(), expected, strict=True))
    assert base_digest(model) == before
