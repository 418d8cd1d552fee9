"""The adapter outside the process: gathered from its shards, written in plain PEFT layout; and a digest that proves the base untouched."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path

import bitsandbytes as bnb
import torch
import torch.distributed as dist
from peft import get_peft_model_state_dict
from safetensors.torch import save
from torch import Tensor, nn

from medfinetune_trainer.model.sharding import gathered, unwrapped

WEIGHTS = "adapter_model.safetensors"


def adapter_state(module: nn.Module) -> dict[str, Tensor]:
    """The adapter's fp32 weights on the CPU under PEFT's keys, on rank 0; empty on the others. A collective: every rank must call it."""
    model = unwrapped(module)
    whole = {name: gathered(parameter).cpu() for name, parameter in model.named_parameters() if parameter.requires_grad}
    if dist.is_initialized() and dist.get_rank() != 0:
        return {}
    state: dict[str, Tensor] = get_peft_model_state_dict(model, state_dict=whole, save_embedding_layers=False)
    return {name: state[name].contiguous() for name in sorted(state)}


def save_adapter(module: nn.Module, folder: Path, base: str) -> None:
    """Write adapter_config.json and adapter_model.safetensors into `folder` (made by rank 0's caller). A collective: every rank must call it; rank 0 writes.

    Args:
        module: what `shard` returned.
        folder: best a `new_folder` of artifacts, so that it appears whole.
        base: the manifest's model path, kept as `base_model_name_or_path`: the mount of one machine would mislead on the next.
    """
    state = adapter_state(module)
    if not state:
        return
    config = copy.copy(unwrapped(module).peft_config["default"])
    config.base_model_name_or_path, config.inference_mode = base, True
    config.target_modules = sorted(config.target_modules)  # a set's order changes from process to process
    config.save_pretrained(str(folder))
    (folder / WEIGHTS).write_bytes(save(state, metadata={"format": "pt"}))  # save_file hides a full volume's errno, and the file from all but its owner


def base_digest(module: nn.Module) -> str:
    """SHA-256 in hex over every frozen parameter, gathered, and the quantization state of every 4-bit layer: equal bits, equal digest. A collective."""
    digest = hashlib.sha256()
    model = unwrapped(module)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            _update(digest, name, gathered(parameter))
    for name, layer in model.named_modules():
        if isinstance(layer, bnb.nn.Linear4bit):
            for key, value in sorted(layer.quant_state.as_dict(packed=True).items()):
                _update(digest, f"{name}.{key}", value)
    return digest.hexdigest()


def _update(digest: hashlib._Hash, name: str, tensor: Tensor) -> None:
    digest.update(name.encode())
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
