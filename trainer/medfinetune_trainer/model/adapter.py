"""What was trained outside the process: gathered from its shards and handed to its method to write; and a digest that proves the base untouched."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import bitsandbytes as bnb
import torch
import torch.distributed as dist
from torch import Tensor, nn

from medfinetune_trainer.model.full import Full
from medfinetune_trainer.model.sharding import gathered, unwrapped
from medfinetune_trainer.model.tuned import Adapter
from medfinetune_trainer.telemetry.heartbeat import beat


def trained_weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Name and value, whole, of each trained weight, in the module's order; gathered as it is asked for. Collective: every rank must take all."""
    for name, parameter in unwrapped(module).named_parameters():
        if parameter.requires_grad:
            beat()
            yield name, gathered(parameter)


def save_trained(tuning: Adapter | Full, module: nn.Module, folder: Path, base: str) -> None:
    """Write what was trained into `folder` (made by rank 0's caller), as the method lays it out. A collective: every rank must call it; rank 0 writes.

    Args:
        tuning: the method that built `module`.
        module: what `build` returned.
        folder: best a `new_folder` of artifacts, so that it appears whole.
        base: the manifest's model path.
    """
    weights = ((name, whole.cpu() if _first() else whole) for name, whole in trained_weights(module))
    if not _first():
        for _ in weights:
            pass
    elif isinstance(tuning, Full):
        tuning.save(unwrapped(module), weights, folder)
    else:
        tuning.save(unwrapped(module), dict(weights), folder, base)


def _first() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0


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
