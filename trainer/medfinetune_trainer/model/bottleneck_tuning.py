"""Bottleneck adapters as a method of tuning: what is trained, what it starts as, and how it is switched off. The module and its files: `bottleneck.py`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from medfinetune_api.choices import Quantization
from medfinetune_api.plan_tuning import BottleneckPlan
from torch import Tensor, nn
from transformers import PreTrainedModel

from medfinetune_trainer.model.architectures import Architecture
from medfinetune_trainer.model.bottleneck import NAME, attach, bottlenecks, read_config, read_weights, save_bottleneck, unreadable
from medfinetune_trainer.model.keyed import keyed
from medfinetune_trainer.model.sharding import unwrapped

SHAPE = ("size", "placement", "scale")
"""What an adapter must share with the one that training starts from; its dropout may differ."""


@dataclass(frozen=True)
class Bottlenecks:
    """A bottleneck adapter at both sublayers of each decoder layer."""

    bottleneck: BottleneckPlan
    quantization: Quantization
    seed: int

    def attach(self, base: PreTrainedModel, architecture: Architecture) -> PreTrainedModel:
        """The base itself, its sublayers adapted."""
        attach(base, self.bottleneck, torch.device("meta"))
        return base

    def initialise(self, name: str, module: nn.Module) -> None:
        """Down uniform within 1 / sqrt(inputs), as LoRA's A; up and the biases zero, so that training starts from the base."""
        for path, parameter in module.named_parameters(prefix=name):
            if path.endswith(f".{NAME}.down.weight"):
                drawn = nn.init.kaiming_uniform_(torch.empty(parameter.shape), a=math.sqrt(5), generator=keyed(self.seed, path))
                parameter.data.copy_(drawn)
            elif f".{NAME}." in path:
                parameter.data.zero_()

    def save(self, module: nn.Module, state: Mapping[str, Tensor], folder: Path, base: str) -> None:
        """bottleneck_config.json and bottleneck.safetensors."""
        save_bottleneck(_model(module), state, folder, base)

    def load(self, module: nn.Module, folder: Path) -> Mapping[str, Tensor]:
        """The adapter in `folder`, which must have this one's shape and base. Raises OutputConflict."""
        config = read_config(folder)
        differing = [field for field in SHAPE if getattr(config, field) != getattr(self.bottleneck, field)]
        if differing:
            raise unreadable(folder, f"another {' and '.join(differing)}")
        return read_weights(_model(module), folder, config)

    @contextmanager
    def disabled(self, module: nn.Module) -> Iterator[None]:
        """The sublayers' own outputs pass unchanged."""
        adapters = bottlenecks(module)
        for adapter in adapters:
            adapter.enabled = False
        try:
            yield
        finally:
            for adapter in adapters:
                adapter.enabled = True


def _model(module: nn.Module) -> PreTrainedModel:
    model = unwrapped(module)
    assert isinstance(model, PreTrainedModel)
    return model
