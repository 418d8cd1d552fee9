"""The allow-list of architectures: what a base's folder must hold, and where its parts lie in the module tree. Reads config.json; imports no torch.

An architecture is on the list once the tests show that packed documents do not see each other in it and that its adapters load with plain PEFT.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfinetune_api.errors import InvalidModel

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


ATTENTION, FEED_FORWARD = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
LINEARS = (*ATTENTION, *FEED_FORWARD)
"""Linear layers of a decoder layer, the same in every architecture of the list."""


@dataclass(frozen=True)
class Architecture:
    """Where the parts of one architecture lie; paths are dotted names below the transformers model."""

    model_type: str
    """`model_type` in config.json."""
    class_name: str
    """Class in transformers to load, and the architecture that config.json must name: adapter keys are its keys."""
    decoder: str
    """The language model without its head: holds `embed_tokens`, `layers` and `norm`."""
    never_adapted: tuple[str, ...] = ("lm_head",)
    """Modules that are neither quantised nor given adapters."""
    text_config: str | None = None
    """Name of the sub-config that describes the language model; None where the config itself does."""

    @property
    def layers(self) -> str:
        """The ModuleList of decoder layers."""
        return f"{self.decoder}.layers"

    @property
    def embedding(self) -> str:
        """The token embedding, tied to the head or not."""
        return f"{self.decoder}.embed_tokens"

    @property
    def norm(self) -> str:
        """The norm after the last layer."""
        return f"{self.decoder}.norm"

    @property
    def head(self) -> str:
        """The language-model head."""
        return "lm_head"

    @property
    def other_modalities(self) -> tuple[str, ...]:
        """Modules that text alone never runs: vision tower and projector."""
        return tuple(name for name in self.never_adapted if name != self.head)


ARCHITECTURES: Mapping[str, Architecture] = {
    known.model_type: known
    for known in (
        Architecture("gemma3_text", "Gemma3ForCausalLM", "model"),
        Architecture(
            "gemma3",
            "Gemma3ForConditionalGeneration",
            "model.language_model",
            never_adapted=("lm_head", "model.vision_tower", "model.multi_modal_projector"),
            text_config="text_config",
        ),
        Architecture("llama", "LlamaForCausalLM", "model"),
        Architecture("qwen2", "Qwen2ForCausalLM", "model"),
        Architecture("qwen3", "Qwen3ForCausalLM", "model"),
    )
}
"""By `model_type`."""


def architecture_of(folder: Path) -> Architecture:
    """The architecture of the base in `folder`.

    Raises:
        InvalidModel: config.json is missing or malformed, names an architecture off the list or remote code, or asks for attention we do not compute; or
            the weights are pickles, already quantised, or not there.
    """
    architecture, _ = config_of(folder)
    _require_safetensors(folder)
    return architecture


def config_of(folder: Path) -> tuple[Architecture, Mapping[str, Any]]:
    """The architecture of the base in `folder` and the content of its config.json; its weights are not looked for. Raises InvalidModel as `architecture_of`."""
    config = _read_config(folder / "config.json")
    architecture = _listed(folder, config)
    _refuse_unsupported(folder, config, architecture)
    return architecture, config


def text_config(folder: Path) -> Mapping[str, Any]:
    """The part of config.json that describes the language model. Raises InvalidModel as `architecture_of`."""
    config = _read_config(folder / "config.json")
    return _text(config, _listed(folder, config))


def _text(config: Mapping[str, Any], architecture: Architecture) -> Mapping[str, Any]:
    text = config.get(architecture.text_config) if architecture.text_config else config
    return text if isinstance(text, dict) else {}


def _read_config(path: Path) -> Mapping[str, Any]:
    wanted = "a JSON object with model_type"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidModel(str(path), found="no such file", expected=wanted, remedy="Point spec.model.path at a model folder in Hugging Face layout.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidModel(str(path), found=f"a file that does not parse ({type(error).__name__})", expected=wanted, remedy="Copy the model again.") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise InvalidModel(str(path), found="no model_type", expected=wanted, remedy="Copy the model again.")
    return config


def _listed(folder: Path, config: Mapping[str, Any]) -> Architecture:
    named = config.get("architectures")
    known = ARCHITECTURES.get(config["model_type"])
    if known is None or named != [known.class_name]:
        found = ", ".join(map(str, named)) if isinstance(named, list) and named else "no architecture"
        raise InvalidModel(
            f"{folder}/config.json",
            found=f"{found} (model_type {config['model_type']})",
            expected="one of " + ", ".join(f"{entry.class_name} ({entry.model_type})" for entry in ARCHITECTURES.values()),
            remedy="Choose a base of a supported architecture.",
        )
    return known


def _refuse_unsupported(folder: Path, config: Mapping[str, Any], architecture: Architecture) -> None:
    text = _text(config, architecture)
    refused = {
        "auto_map": (config, "no remote code", "Use the model's safetensors without its Python files, as a transformers architecture."),
        "quantization_config": (config, "weights in 16 or 32 bits", "Use the unquantised model: QLoRA quantises it to NF4 itself."),
        "attn_logit_softcapping": (text, "null", "Choose a base without soft-capped attention."),
        "use_bidirectional_attention": (text, "false", "Choose a causal base."),
        "attention_dropout": (text, "0", "Set it to 0: LoRA has a dropout of its own."),
    }
    for field, (holder, expected, remedy) in refused.items():
        if holder.get(field):
            raise InvalidModel(f"{folder}/config.json", found=f"{field} set", expected=expected, remedy=remedy)


def _require_safetensors(folder: Path) -> None:
    if any((folder / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json")):
        return
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    found = f"pickled weights ({', '.join(pickles[:3])})" if pickles else "no weights"
    remedy = "A pickle can run code when it is read: get the safetensors files instead." if pickles else "Copy the model's weights."
    raise InvalidModel(str(folder), found=found, expected="model.safetensors, or its shards with model.safetensors.index.json", remedy=remedy)
