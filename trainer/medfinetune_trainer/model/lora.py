"""Add LoRA adapters to a frozen base: all linear layers of the language model, or those named. Adapters are fp32 masters whatever the base's type.

LoRA: W = W_frozen + (alpha / rank) B A (Hu et al. 2021, arXiv 2106.09685, section 4.1); on every linear layer as in Med42 (arXiv 2404.14779) and QLoRA.
"""

from __future__ import annotations

import re

import torch
from medfinetune_api.errors import InvalidManifest
from medfinetune_api.plan import LoraPlan
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from medfinetune_trainer.model.architectures import Architecture


def add_adapter(model: PreTrainedModel, lora: LoraPlan, architecture: Architecture, seed: int) -> PeftModel:
    """`model` with fp32 LoRA adapters, its only trainable parameters; B starts at zero, A is drawn by `seed`, equal on every rank.

    The random state outside is left as it was. Raises InvalidManifest where a target module names no linear layer of the language model.
    """
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # PEFT annotates int, and only divides by it
        lora_dropout=lora.dropout,
        target_modules=_targets(model, lora, architecture),
        exclude_modules=_exclusion(architecture),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = get_peft_model(model, config)
    assert isinstance(adapted, PeftModel)
    return adapted


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
