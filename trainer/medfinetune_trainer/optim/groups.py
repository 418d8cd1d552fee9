"""Which parameter learns at which rate: groups of equal learning-rate multiplier and equal weight decay, by the parameters' names.

A multiplier is a product of two factors:

- layer-wise decay ("discriminative fine-tuning", Howard and Ruder 2018, arXiv 1801.06146, section 3.2): `layer_decay` to the power of the parameter's depth;
- LoRA+ (Hayou et al. 2024, arXiv 2402.12354, section 4): B learns `ratio` times as fast as A. Vectors, which are DoRA's magnitudes, learn with B, as PEFT's
  `create_loraplus_optimizer` has it; that one knows no decay by layer, so the groups are built here, and a test holds them to be PEFT's.

Matrices decay, vectors (norms, biases, magnitudes) do not. A name is the same on every rank and in every attempt, and so is its group.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

SCALE = "lr_scale"
"""Key of a group's multiplier."""


@dataclass(frozen=True)
class Depths:
    """How deep a parameter lies below the top of the language model, by its name."""

    layers: str
    """Dotted name of the list of decoder layers, below whatever wraps the model."""
    embedding: str
    """Dotted name of the token embedding."""
    count: int
    """Decoder layers."""

    @classmethod
    def of(cls, names: Iterable[str], layers: str, embedding: str) -> Depths:
        """Of the model whose parameters, trained or not, have these names."""
        return cls(layers, embedding, 1 + max((number for name in names if (number := _layer(name, layers)) is not None), default=-1))

    def depth(self, name: str) -> int:
        """0 for the last decoder layer and what stands above it or beside them all (norm, head), the number of layers for the embedding.

        A head that is tied to the embedding is one weight with it, and has its name and depth.
        """
        if (number := _layer(name, self.layers)) is not None:
            return self.count - 1 - number
        return self.count if _within(name, self.embedding) else 0


def parameter_groups(module: nn.Module, depths: Depths, *, layer_decay: float, loraplus_ratio: float, weight_decay: float) -> list[dict[str, Any]]:
    """The trained parameters of `module`, DTensors or not, as a torch optimizer takes them, with each group's multiplier under SCALE.

    Args:
        module: as it is trained; the order of its parameters is that of the groups.
        depths: of its parameters.
        layer_decay: factor from each decoder layer to the one before it; 1 gives all the same.
        loraplus_ratio: learning rate of LoRA's B as a multiple of A's; 1 for other methods.
        weight_decay: of matrices.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            ratio = loraplus_ratio if ".lora_B." in name or parameter.ndim == 1 else 1.0
            decay = weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((layer_decay ** depths.depth(name) * ratio, decay), []).append(parameter)
    return [{"params": parameters, SCALE: scale, "weight_decay": decay} for (scale, decay), parameters in groups.items()]


def _layer(name: str, layers: str) -> int | None:
    """The number of the decoder layer that a parameter belongs to."""
    found = re.search(rf"(?:^|\.){re.escape(layers)}\.(\d+)\.", name)
    return int(found[1]) if found else None


def _within(name: str, part: str) -> bool:
    return re.search(rf"(?:^|\.){re.escape(part)}\.", name) is not None
