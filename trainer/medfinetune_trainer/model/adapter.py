"""What was trained outside the process: gathered from its shards and handed to its method to write; and a digest that proves the base untouched."""

from __future__ import annotations

import hashlib
from pathlib import Path

import bitsandbytes as bnb
import torch
import torch.distributed as dist
from torch import Tensor, nn

from medfinetune_trainer.model.sharding import gathered, unwrapped
from medfinetune_trainer.model.tuned import Tuning


def trained_state(module: nn.Module) -> dict[str, Tensor]:
    """The trained fp32 weights on the CPU by parameter name, on rank 0; empty on the others. A collective: every rank must call it."""
    first, state = not dist.is_initialized() or dist.get_rank() == 0, {}
    for name, parameter in unwrapped(module).named_parameters():
        if parameter.requires_grad:
            whole = gathered(parameter)
            if first:
                state[name] = whole.cpu()
    return state


def save_trained(tuning: Tuning, module: nn.Module, folder: Path, base: str) -> None:
    """Write what was trained into `folder` (made by rank 0's caller), as the method lays it out. A collective: every rank must call it; rank 0 writes.

    Args:
        tuning: the method that built `module`.
        module: what `build` returned.
        folder: best a `new_folder` of artifacts, so that it appears whole.
        base: the manifest's model path.
    """
    state = trained_state(module)
    if state:
        tuning.save(unwrapped(module), state, folder, base)


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
