"""LoRA on a frozen base, on all linear layers of the language model or those named, by PEFT and in its files. Adapters are fp32 whatever the base's type.

LoRA: W = W_frozen + s B A, s = alpha / rank (Hu et al. 2021, arXiv 2106.09685, section 4.1); on every linear layer as in Med42 (arXiv 2404.14779) and QLoRA.
rsLoRA: s = alpha / sqrt(rank) (Kalajdzievski 2023, arXiv 2312.03732, section 3). DoRA: `dora.py`.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from medfinetune_api.choices import Quantization
from medfinetune_api.errors import InvalidManifest, OutputConflict
from medfinetune_api.plan_tuning import LoraPlan
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from transformers import PreTrainedModel

from medfinetune_trainer.model.architectures import Architecture
from medfinetune_trainer.model.dora import initialise_magnitudes, use_on_4bit_layers
from medfinetune_trainer.model.keyed import keyed
from medfinetune_trainer.model.sharding import unwrapped

WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class LowRank:
    """LoRA, or QLoRA where the base is NF4."""

    lora: LoraPlan
    quantization: Quantization
    seed: int

    def attach(self, base: PreTrainedModel, architecture: Architecture) -> PeftModel:
        """A PeftModel around `base`. Raises InvalidManifest where a target module names no linear layer of the language model."""
        config = LoraConfig(
            r=self.lora.rank,
            lora_alpha=self.lora.alpha,  # PEFT annotates int, and only divides by it
            lora_dropout=self.lora.dropout,
            target_modules=_targets(base, self.lora, architecture),
            exclude_modules=_exclusion(architecture),
            use_rslora=self.lora.use_rslora,
            use_dora=self.lora.use_dora,
            task_type="CAUSAL_LM",
        )
        if self.lora.use_dora and self.quantization is Quantization.NF4:
            use_on_4bit_layers(config)
        with torch.device("meta"):
            adapted = get_peft_model(base, config, low_cpu_mem_usage=True)
        assert isinstance(adapted, PeftModel)
        return adapted

    def initialise(self, name: str, module: nn.Module) -> None:
        """A as in PEFT, uniform within 1 / sqrt(inputs); B zero, and DoRA's magnitudes the base's own, so that training starts from the base."""
        for path, parameter in module.named_parameters(prefix=name):
            if ".lora_A." in path:
                drawn = nn.init.kaiming_uniform_(torch.empty(parameter.shape), a=math.sqrt(5), generator=keyed(self.seed, path))
                parameter.data.copy_(drawn)
            elif ".lora_B." in path:
                parameter.data.zero_()
        initialise_magnitudes(module)

    def save(self, module: nn.Module, state: Mapping[str, Tensor], folder: Path, base: str) -> None:
        """adapter_config.json and adapter_model.safetensors, as PEFT reads them."""
        model = _peft(module)
        config = copy.copy(model.peft_config["default"])
        config.base_model_name_or_path, config.inference_mode = base, True
        config.target_modules = sorted(config.target_modules)  # a set's order changes from process to process
        config.save_pretrained(str(folder))
        named = {key: state[name].contiguous() for key, name in sorted(_file_keys(model).items())}
        (folder / WEIGHTS).write_bytes(save(named, metadata={"format": "pt"}))  # save_file hides a full volume's errno, and the file from all but its owner

    def load(self, module: nn.Module, folder: Path) -> Mapping[str, Tensor]:
        """The adapter in `folder`, which must have this one's rank, scale, targets and shapes. Raises OutputConflict."""
        model = _peft(module)
        try:
            _require_same(model.peft_config["default"], PeftConfig.from_pretrained(str(folder)))
            stored, keys = load_file(folder / WEIGHTS), _file_keys(model)
            if stored.keys() != keys.keys():
                raise ValueError(f"{len(stored.keys() ^ keys.keys())} weights that are not on both sides")
            shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
            if any(stored[key].shape != shapes[name] for key, name in keys.items()):
                raise ValueError("weights of another shape")
        except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
            remedy = f"Restore it; or remove {folder} and start again: training continues from the newest checkpoint."
            found = f"an adapter that cannot be read ({type(error).__name__})"
            raise OutputConflict(str(folder), found=found, expected="PEFT's layout, of this run's shape", remedy=remedy) from error
        return {name: stored[key] for key, name in keys.items()}

    def disabled(self, module: nn.Module) -> AbstractContextManager[None]:
        """PEFT's own switch."""
        disabled: AbstractContextManager[None] = _peft(module).disable_adapter()
        return disabled


def _peft(module: nn.Module) -> PeftModel:
    model = unwrapped(module)
    assert isinstance(model, PeftModel)
    return model


def _file_keys(model: PeftModel) -> dict[str, str]:
    """The name of each trained parameter by its key in PEFT's file: PEFT renames what it is handed, and keeps the values."""
    names = {name: name for name, parameter in model.named_parameters() if parameter.requires_grad}
    keys: dict[str, str] = get_peft_model_state_dict(model, state_dict=names, save_embedding_layers=False)
    return keys


def _require_same(here: PeftConfig, there: PeftConfig) -> None:
    """Raises ValueError where an adapter would mean something else in this model."""
    for field in ("peft_type", "r", "lora_alpha", "use_rslora", "use_dora"):
        if getattr(here, field, None) != getattr(there, field, None):
            raise ValueError(f"another {field}")


def _targets(model: PreTrainedModel, lora: LoraPlan, architecture: Architecture) -> list[str]:
    layers = model.get_submodule(architecture.layers)
    available = {name.rsplit(".", 1)[-1] for name, module in layers.named_modules() if isinstance(module, nn.Linear)}
    if lora.target_modules == "all-linear":
        return sorted(available)
    for name in lora.target_modules:
        if name not in available:
            raise InvalidManifest(
                "spec.tuning.lora.targetModules",
                found=name,
                expected=f"all-linear, or linear layers of {architecture.class_name}: {', '.join(sorted(available))}",
                remedy="Correct the name or leave it out.",
            )
    return sorted(set(lora.target_modules))


def _exclusion(architecture: Architecture) -> str | None:
    """A vision tower has layers of the same names."""
    others = "|".join(re.escape(name) for name in architecture.other_modalities)
    return rf"({others})\..*" if others else None
