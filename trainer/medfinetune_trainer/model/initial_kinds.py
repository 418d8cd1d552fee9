"""What the files of an earlier prefix or bottleneck adapter must say and hold to be the start of this run's. Imports no torch.

Values are by key of the adapter's config file: the manifest's field that decides the value, and the value. Shapes are by key of its weights file, as they
follow from the base's own: `base` is the name and shape of every weight of the base.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from medfinetune_api.plan_tuning import BottleneckPlan, PrefixPlan

from medfinetune_trainer.model.architectures import Architecture

BOTTLENECK_CONFIG, BOTTLENECK_WEIGHTS = "bottleneck_config.json", "bottleneck.safetensors"
PREFIX_KEY = "prompt_embeddings"
PATH = "spec.tuning.initialAdapter.path"
Shapes = Mapping[str, tuple[int, ...]]
Values = Mapping[str, tuple[str, Any]]
Weights = Iterable[tuple[str, tuple[int, ...]]]


def prefix_values(prefix: PrefixPlan) -> Values:
    """Of PEFT's adapter_config.json."""
    return {
        "peft_type": ("spec.tuning.method", "PREFIX_TUNING"),
        "num_virtual_tokens": ("spec.tuning.prefix.numVirtualTokens", prefix.num_virtual_tokens),
        "prefix_projection": (PATH, False),
    }


def prefix_shapes(prefix: PrefixPlan, architecture: Architecture, base: Weights) -> Shapes:
    """A row a virtual token: the keys and values of every layer."""
    states = sum(shape[0] for name, shape in base if _in_layer(name, architecture, "self_attn.k_proj.weight", "self_attn.v_proj.weight"))
    return {PREFIX_KEY: (prefix.num_virtual_tokens, states)}


def bottleneck_values(bottleneck: BottleneckPlan, architecture: Architecture) -> Values:
    """Of bottleneck_config.json."""
    fields = {name: (f"spec.tuning.bottleneck.{name}", getattr(bottleneck, name)) for name in ("size", "placement", "scale")}
    return {"format_version": (PATH, 1), "architecture": ("spec.model.path", architecture.class_name), **fields}


def bottleneck_shapes(bottleneck: BottleneckPlan, architecture: Architecture, base: Weights) -> Shapes:
    """Down and up at both sublayers of every layer."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (_, hidden) in ((name, shape) for name, shape in base if _in_layer(name, architecture, "self_attn.k_proj.weight", "mlp.gate_proj.weight")):
        layer, sublayer = name.split(".")[-4:-2]
        path = f"{architecture.layers}.{layer}.{sublayer}.bottleneck"
        shapes |= {f"{path}.down.weight": (bottleneck.size, hidden), f"{path}.down.bias": (bottleneck.size,)}
        shapes |= {f"{path}.up.weight": (hidden, bottleneck.size), f"{path}.up.bias": (hidden,)}
    return shapes


def _in_layer(name: str, architecture: Architecture, *ends: str) -> bool:
    """Published files name a layer by several paths, whose end is the same; a vision tower has layers too."""
    modules = name.split(".")
    return name.endswith(ends) and not any(skipped.rsplit(".", 1)[-1] in modules for skipped in architecture.never_adapted)
