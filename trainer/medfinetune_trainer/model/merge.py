"""Merge a low-rank adapter into its base: a whole model that needs no PEFT, in the base's own layout and types.

Weight by weight: each is read in fp32, PEFT adds the adapter to it, and it is rounded once as it is written. Beside the adapter no more than one weight is in
memory; no GPU is needed. The base is the one that was published, in 16 bits: what a QLoRA adapter was trained and evaluated on is its NF4 image, so the merged
model's answers differ from the evaluated ones by what quantisation changed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from medfinetune_api.choices import Quantization
from peft.tuners.lora.layer import LoraLayer

from medfinetune_trainer.model.architectures import architecture_of
from medfinetune_trainer.model.build import give_values
from medfinetune_trainer.model.load import Places, skeleton
from medfinetune_trainer.model.lora import LowRank
from medfinetune_trainer.model.successor import Successor
from medfinetune_trainer.telemetry.heartbeat import beat

CPU = torch.device("cpu")


def merge(base: Path, tuning: LowRank, adapter: Path, folder: Path) -> None:
    """Write the base with the adapter merged into it.

    Args:
        base: the base's folder.
        tuning: the plan's, whose adapter it is.
        adapter: what `LowRank.save` wrote.
        folder: exists; best a `new_folder` of artifacts, so that it appears whole.

    Raises:
        InvalidModel: the base cannot be used. OutputConflict: the adapter cannot be read. Diverged: a merged weight is too large for the base's type.
    """
    architecture = architecture_of(base)
    model = skeleton(base, architecture, Quantization.NONE, torch.float32, CPU)
    places, successor = Places.of(base, model), Successor(base, folder)
    unquantised = replace(tuning, quantization=Quantization.NONE)
    adapted = unquantised.attach(model, architecture)
    values = unquantised.load(adapted, adapter)
    layers: list[tuple[str, Any]] = [(name, module) for name, module in adapted.named_modules() if isinstance(module, LoraLayer)]
    for name, layer in layers:
        linear = layer.get_base_layer()
        places.fill([linear], CPU)
        give_values(name, layer, unquantised, values, CPU)
        layer.merge()
        successor.write(places.stored[linear]["weight"], linear.weight)
        layer.to("meta")
        beat()
    successor.finish()
