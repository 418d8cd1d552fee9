"""Bases of published shapes with random weights: peaks and speed depend on shapes alone, and nothing is downloaded. On a processor all widths are small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from medfinetune_trainer.memory.published import PUBLISHED
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

GEMMA_3_4B = {
    "model_type": "gemma3_text",
    "vocab_size": 262_208,
    "hidden_size": 2560,
    "intermediate_size": 10_240,
    "num_hidden_layers": 34,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "sliding_window": 1024,
    "layer_types": ["full_attention" if (layer + 1) % 6 == 0 else "sliding_attention" for layer in range(34)],
}
LLAMA_3_8B = {
    "model_type": "llama",
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": False,
}
MINIATURE = {"vocab_size": 4096, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 16}
"""In place of the same fields where the script is tried on a processor."""
CLASSES = {"gemma3_text": ("Gemma3TextConfig", "Gemma3ForCausalLM"), "llama": ("LlamaConfig", "LlamaForCausalLM")}


def first_layers(folder: Path, model: str, layers: int, device: torch.device, **fields: Any) -> Path:
    """The published shape of `model` with its first layers only, `fields` in place of its own, weights as transformers draws them, in bf16.

    The last layer attends to everything, the others where Gemma 3 has them to a window: as its first six do.
    """
    config = dict(PUBLISHED[model]) | {"num_hidden_layers": layers} | fields | (MINIATURE if device.type == "cpu" else {})
    if config["model_type"] == "gemma3_text":
        config["layer_types"] = ["sliding_attention"] * (config["num_hidden_layers"] - 1) + ["full_attention"]
    torch.manual_seed(0)
    with torch.device(device):
        made = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=torch.bfloat16)
    made.save_pretrained(folder)
    return folder


def random_base(folder: Path, shape: dict[str, Any], device: torch.device) -> Path:
    """A folder in Hugging Face layout: config.json, and bf16 weights in one file a layer, for a shape too large to be made whole."""
    fields = {name: value for name, value in shape.items() if name != "model_type"}
    if device.type == "cpu":
        fields |= MINIATURE | ({"layer_types": ["sliding_attention", "full_attention"]} if "layer_types" in shape else {})
    config_class, model_class = CLASSES[shape["model_type"]]
    config = getattr(transformers, config_class)(**fields, initializer_range=0.02, max_position_embeddings=32_768)
    config.architectures = [model_class]
    with torch.device("meta"):
        model = getattr(transformers, model_class)(config)
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    _write(folder, {name: tensor.shape for name, tensor in model.state_dict().items() if not (name == "lm_head.weight" and config.tie_word_embeddings)}, device)
    return folder


def _write(folder: Path, shapes: dict[str, torch.Size], device: torch.device) -> None:
    groups: dict[str, list[str]] = {}
    for name in shapes:
        groups.setdefault(f"layer-{name.split('.')[2]}" if ".layers." in name else "rest", []).append(name)
    for group, names in groups.items():
        tensors = {name: torch.empty(shapes[name], dtype=torch.bfloat16, device=device).normal_(0, 0.02).cpu() for name in names}
        save_file(tensors, folder / f"model-{group}.safetensors", metadata={"format": "pt"})
    total = sum(2 * shape.numel() for shape in shapes.values())
    index = {"metadata": {"total_size": total}, "weight_map": {name: f"model-{group}.safetensors" for group, names in groups.items() for name in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
