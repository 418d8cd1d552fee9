"""Bottleneck adapters: a network down to a few units, a ReLU, and up again, at the attention and the feed-forward sublayer of every decoder layer.

- Sequential (Houlsby et al. 2019, arXiv 1902.00751, section 2.1): y + scale * up(relu(down(y))), on the sublayer's output y.
- Parallel (He et al. 2022, arXiv 2110.04366, section 3.3): y + scale * up(relu(down(x))), beside the sublayer, on its input x.

x is what the module `self_attn` or `mlp` is given, after the norm before it; y is what it returns, before any norm that follows it (Gemma 3 has one) and before
the residual is added. This is the same in every architecture, and nothing of the base is replaced: the adapter is a child of the module that it adapts.

PEFT has no such adapter. The layout is ours: `bottleneck_config.json` says all that a reader needs; `bottleneck.safetensors` holds fp32 tensors, named by their
path in the base's transformers class, as in `model.layers.0.mlp.bottleneck.down.weight`. With plain transformers:

    model = AutoModelForCausalLM.from_pretrained(base)
    model = load_bottleneck(model, adapter)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from medfinetune_api.choices import Placement
from medfinetune_api.errors import OutputConflict
from medfinetune_api.plan_tuning import BottleneckPlan
from pydantic import ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from medfinetune_trainer.model.architectures import ARCHITECTURES
from medfinetune_trainer.model.initial_kinds import BOTTLENECK_CONFIG as CONFIG
from medfinetune_trainer.model.initial_kinds import BOTTLENECK_WEIGHTS as WEIGHTS

SUBLAYERS = ("self_attn", "mlp")
NAME = "bottleneck"
"""Of the adapter in the sublayer that it adapts."""


class BottleneckConfig(BottleneckPlan):
    """`bottleneck_config.json`: the adapter's shape, and what it stands on."""

    model_config = ConfigDict(alias_generator=None)  # snake_case in the file, as in PEFT's

    format_version: Literal[1] = 1
    """Of this layout."""
    base_model_name_or_path: str
    """The base, as the manifest names it."""
    architecture: str
    """The base's class in transformers."""
    layers: str
    """Path of its decoder layers."""
    sublayers: tuple[str, ...] = SUBLAYERS
    """Modules of each layer that have an adapter."""
    activation: Literal["relu"] = "relu"
    """Between down and up."""


class Bottleneck(nn.Module):
    """One adapter: what it adds is scale * up(dropout(relu(down(states)))). Its weights are fp32 masters.

    Args:
        hidden: the base's hidden size.
        shape: width, placement, scale and dropout.
        device: of the weights.
    """

    def __init__(self, hidden: int, shape: BottleneckPlan, device: torch.device) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, shape.size, device=device, dtype=torch.float32)
        self.up = nn.Linear(shape.size, hidden, device=device, dtype=torch.float32)
        self.dropout = nn.Dropout(shape.dropout)
        self.scale, self.placement, self.enabled = shape.scale, shape.placement, True

    def forward(self, states: Tensor) -> Tensor:
        """What is added to the sublayer's output; `states` (..., hidden) and the result are in the base's compute type."""
        inner = functional.relu(self.down(states.to(self.down.weight.dtype)))
        added: Tensor = self.scale * self.up(self.dropout(inner))
        return added.to(states.dtype)


def attach(model: PreTrainedModel, shape: BottleneckPlan, device: torch.device | None = None) -> None:
    """Give both sublayers of every decoder layer an adapter, on `device`, or where the sublayer lies; its weights are not yet given values."""
    hidden = model.config.get_text_config().hidden_size
    for sublayer in _sublayers(model):
        place = device or next(sublayer.parameters()).device
        sublayer.add_module(NAME, Bottleneck(hidden, shape, place))
        sublayer.register_forward_hook(_adapt, with_kwargs=True)


def bottlenecks(model: nn.Module) -> list[Bottleneck]:
    """The adapters of a model."""
    return [module for module in model.modules() if isinstance(module, Bottleneck)]


def save_bottleneck(model: PreTrainedModel, state: Mapping[str, Tensor], folder: Path, base: str) -> None:
    """Write the two files of the layout; `state` holds every weight of the adapters, whole and on the CPU, by its name in `model`."""
    architecture, one = ARCHITECTURES[model.config.model_type], bottlenecks(model)[0]
    config = BottleneckConfig(
        size=one.down.out_features,
        placement=one.placement,
        scale=one.scale,
        dropout=one.dropout.p,
        base_model_name_or_path=base,
        architecture=architecture.class_name,
        layers=architecture.layers,
    )
    (folder / CONFIG).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / WEIGHTS).write_bytes(save({name: state[name].contiguous() for name in sorted(state)}, metadata={"format": "pt"}))


def load_bottleneck(model: PreTrainedModel, folder: Path | str) -> PreTrainedModel:
    """Put the adapter in `folder` on a base of transformers, in place, and return it. The base may be quantised, and spread over devices.

    Raises OutputConflict where the files cannot be read, or belong to another architecture or shape.
    """
    config = read_config(Path(folder))
    attach(model, config)
    values = read_weights(model, Path(folder), config)
    for name, parameter in _named(model):
        parameter.data.copy_(values[name])
    return model


def read_config(folder: Path) -> BottleneckConfig:
    """bottleneck_config.json. Raises OutputConflict."""
    try:
        return BottleneckConfig.model_validate_json((folder / CONFIG).read_bytes(), strict=True)
    except (OSError, ValueError) as error:
        raise unreadable(folder, f"{CONFIG} that cannot be read ({type(error).__name__})") from error


def read_weights(model: PreTrainedModel, folder: Path, config: BottleneckConfig) -> dict[str, Tensor]:
    """The weights in `folder`, on the CPU, for the adapters that `model` has, which may lie on the meta device. Raises OutputConflict."""
    expected, architecture = dict(_named(model)), ARCHITECTURES.get(model.config.model_type)
    if architecture is None or config.architecture != architecture.class_name:
        raise unreadable(folder, f"an adapter of {config.architecture}")
    try:
        values: dict[str, Tensor] = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise unreadable(folder, f"{WEIGHTS} that cannot be read ({type(error).__name__})") from error
    if values.keys() != expected.keys() or any(values[name].shape != parameter.shape for name, parameter in expected.items()):
        raise unreadable(folder, "weights of another base or shape")
    return values


def unreadable(folder: Path, found: str) -> OutputConflict:
    """The refusal of an adapter's folder."""
    remedy = "Restore it, or choose the base that it was trained on."
    return OutputConflict(str(folder), found=found, expected="a bottleneck adapter of this base and shape", remedy=remedy)


def _adapt(sublayer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Any:
    """A forward hook: attention returns its weights beside its output."""
    adapter = sublayer.get_submodule(NAME)
    assert isinstance(adapter, Bottleneck)
    if not adapter.enabled:
        return output
    y = output[0] if isinstance(output, tuple) else output
    x = args[0] if args else kwargs["hidden_states"]
    adapted = y + adapter(y if adapter.placement is Placement.SEQUENTIAL else x)
    return (adapted, *output[1:]) if isinstance(output, tuple) else adapted


def _sublayers(model: PreTrainedModel) -> Iterator[nn.Module]:
    for layer in model.get_submodule(ARCHITECTURES[model.config.model_type].layers).children():
        yield from (layer.get_submodule(name) for name in SUBLAYERS)


def _named(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, parameter) for name, parameter in model.named_parameters() if f".{NAME}." in name)
