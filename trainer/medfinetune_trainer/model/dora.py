"""DoRA (Liu et al. 2024, arXiv 2402.09353, section 4): W = m (W_frozen + s B A) / ||W_frozen + s B A||, with a trained magnitude m for each output.

PEFT's implementation, but for 4-bit layers: PEFT asks the parameter itself how it is quantised, which it knows neither on the meta device nor once
`fully_shard` has taken it. Here the layer is asked, as bitsandbytes does.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import bitsandbytes as bnb
import torch
from peft import LoraConfig
from peft.tuners.lora.bnb import Linear4bit
from peft.tuners.lora.dora import DoraLinearLayer
from peft.tuners.lora.layer import LoraLayer
from peft.tuners.lora.variants import DoraLinearVariant
from torch import Tensor, nn


def use_on_4bit_layers(config: LoraConfig) -> None:
    """Let PEFT put this module's layer on 4-bit layers, by its own dispatch of custom modules. The saved config does not show it."""
    config._register_custom_module({bnb.nn.Linear4bit: _DoraLinear4bit})


def initialise_magnitudes(module: nn.Module) -> None:
    """Set the magnitudes of every DoRA layer in `module` to the norms of its weight's rows, adapter included; weights are real and whole."""
    for layer in module.modules():
        if isinstance(layer, LoraLayer) and "default" in layer.lora_magnitude_vector:
            magnitude = layer.lora_magnitude_vector["default"]
            base, scale = layer.get_base_layer(), layer.scaling["default"]
            magnitude.update_layer(base_layer=_dequantised(base), lora_A=layer.lora_A["default"].weight, lora_B=layer.lora_B["default"].weight, scaling=scale)


class _Magnitude(DoraLinearLayer):  # type: ignore[misc]  # PEFT leaves it untyped
    """PEFT's layer, handed the weight that the 4-bit layer stands for."""

    def forward(self, x: Tensor, *, base_layer: nn.Module, **rest: Any) -> Tensor:
        """The product in place of LoRA's: (batch, tokens, outputs)."""
        result: Tensor = super().forward(x, base_layer=_dequantised(base_layer), **rest)
        return result


class _Variant(DoraLinearVariant):  # type: ignore[misc]  # PEFT leaves it untyped
    @staticmethod
    def init(module: Any, adapter_name: str, **_: Any) -> None:
        """As PEFT's, but with a magnitude that has no value yet: the base is still on the meta device."""
        magnitude = _Magnitude(fan_in_fan_out=False)
        magnitude.weight = nn.Parameter(torch.empty(module.out_features, device="meta"))
        module.adapter_layer_names = (*module.adapter_layer_names, "lora_magnitude_vector")
        module.lora_magnitude_vector[adapter_name] = magnitude

    @staticmethod
    def forward(module: Any, active_adapter: str, x: Tensor, result: Tensor, **rest: Any) -> Tensor:
        """As PEFT's, in the base's type: under CUDA's autocast PEFT leaves the magnitudes' fp32, which attention by documents cannot take."""
        return cast(Tensor, DoraLinearVariant.forward(module, active_adapter, x, result, **rest)).to(result.dtype)


class _DoraLinear4bit(Linear4bit):  # type: ignore[misc]  # PEFT defines it only where bitsandbytes is, so it has no type
    def resolve_lora_variant(self, *, config: LoraConfig, **_: Any) -> DoraLinearVariant:
        return _Variant()


def _dequantised(layer: Any) -> Any:
    """What PEFT reads of a layer: its weight, (outputs, inputs) in the compute type where it is 4-bit, and its bias."""
    if not isinstance(layer, bnb.nn.Linear4bit):
        return layer
    return SimpleNamespace(weight=bnb.functional.dequantize_4bit(layer.weight.data, layer.quant_state), bias=layer.bias, parameters=layer.parameters)
