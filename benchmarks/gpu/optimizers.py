"""What the kinds of AdamW and the two offloads do on a GPU: the same updates, a checkpoint that leaves states where they were, and the memory each takes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from medfinetune_api.choices import OptimizerType, Quantization
from medfinetune_api.plan_training import OptimizerPlan
from medfinetune_api.plan_tuning import LoraPlan
from medfinetune_trainer.artifacts.state import finish_saving, load_state, start_saving
from medfinetune_trainer.data.batch import PackedDocument, collate
from medfinetune_trainer.model.build import build as build_model
from medfinetune_trainer.model.lora import LowRank
from medfinetune_trainer.model.loss import packed_loss
from medfinetune_trainer.optim.groups import SCALE
from medfinetune_trainer.optim.offload import ActivationsOnHost
from medfinetune_trainer.optim.optimizer import build_optimizer, set_learning_rate
from tiny_base import build
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

HALF = 3
RATE, DECAY = 1e-2, 0.1
KINDS = {
    "AdamW": (OptimizerType.ADAMW, False, 0.0),
    "AdamW on the host": (OptimizerType.ADAMW, True, 0.0),
    "AdamW8bit": (OptimizerType.ADAMW_8BIT, False, 3e-2),
    "PagedAdamW": (OptimizerType.PAGED_ADAMW, False, 1e-5),
    "PagedAdamW8bit": (OptimizerType.PAGED_ADAMW_8BIT, False, 3e-2),
}
"""Type, whether its states lie on the host, and the largest difference of a weight from torch's AdamW after six steps of 1e-2."""


def optimizers(device: torch.device) -> dict[str, Any]:
    """By kind: difference from torch's AdamW, whether a checkpoint continues bit for bit and leaves the states at home, bytes; and activations on the host."""
    width = 4096 if device.type == "cuda" else 128
    kinds = {name: _kind(kind, on_host, width, device) for name, (kind, on_host, _) in KINDS.items()}
    activations = _activations(device)
    met = all(found["difference"] <= KINDS[name][2] and found["continues"] and found["at_home"] for name, found in kinds.items())
    return {"kinds": kinds, "activations": activations, "passed": met and activations["difference"] <= 4 * activations["difference_of_two_alike"]}


def _kind(kind: OptimizerType, on_host: bool, width: int, device: torch.device) -> dict[str, Any]:
    expected = _model(width, device)
    _steps(expected, AdamW([{"params": list(expected.parameters()), SCALE: 1.0}], weight_decay=DECAY), range(2 * HALF))
    model, before = _model(width, device), _reset(device)
    optimizer = _optimizer(model, kind, on_host)
    _steps(model, optimizer, range(HALF))
    taken, (other, continued) = _peak(device) - before, _through_a_checkpoint(model, optimizer, _model(width, device), kind, on_host)
    _steps(model, optimizer, range(HALF, 2 * HALF))
    _steps(other, continued, range(HALF, 2 * HALF))
    return {
        "difference": _difference(model.parameters(), expected.parameters()),
        "continues": _difference(model.parameters(), other.parameters()) == 0,
        "at_home": _homes(continued) == _homes(optimizer),
        "homes": sorted(_homes(optimizer)),
        "peak_bytes": taken,
    }


def _model(width: int, device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(width, width, bias=False).to(device)


def _optimizer(model: nn.Module, kind: OptimizerType, on_host: bool) -> Optimizer:
    plan = OptimizerPlan(type=kind, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=DECAY, max_grad_norm=1.0)
    return build_optimizer([{"params": list(model.parameters()), SCALE: 1.0, "weight_decay": DECAY}], plan, on_host=on_host)


def _steps(model: nn.Module, optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        for parameter in model.parameters():
            drawn = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step))
            parameter.grad = drawn.to(parameter.device)
        set_learning_rate(optimizer, RATE)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _through_a_checkpoint(model: nn.Module, optimizer: Optimizer, other: nn.Module, kind: OptimizerType, on_host: bool) -> tuple[nn.Module, Optimizer]:
    continued = _optimizer(other, kind, on_host)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        finish_saving(start_saving(folder, model, optimizer, None), folder)
        load_state(folder, other, continued)
    return other, continued


def _homes(optimizer: Optimizer) -> set[str]:
    """Where the moments lie."""
    moments = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor) and value.numel() > 256]
    return {"paged" if getattr(moment, "is_paged", False) else moment.device.type for moment in moments}


def _activations(device: torch.device) -> dict[str, Any]:
    """Gradients in fp32, whose kernels add in a fixed order; twice without offload, because not every kernel of a GPU does."""
    lora = LoraPlan(rank=8, alpha=16, dropout=0.0, target_modules="all-linear", use_rslora=False, use_dora=False, loraplus_lr_ratio=1)
    lengths = (1200, 848) if device.type == "cuda" else (40, 24)
    batch = collate([PackedDocument([5 + i % 200 for i in range(length)], [1] * length, 0) for length in lengths]).to(device)
    with tempfile.TemporaryDirectory() as name:
        base = build(Path(name) / "base", ["The heart pumps blood.", "심장은 피를 보낸다."] * 50, kind="llama", num_hidden_layers=8)
        module = build_model(base, LowRank(lora, Quantization.NF4, seed=0), torch.float32, device, None, packed=True).train()
    gradients, peaks = [], []
    for context in (nullcontext(), nullcontext(), ActivationsOnHost()):
        before = _reset(device)
        with context:
            loss = packed_loss(module, batch, groups=1).loss
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward unannotated
        peaks.append(_peak(device) - before)
        gradients.append([parameter.grad for parameter in module.parameters() if parameter.grad is not None])
        module.zero_grad(set_to_none=True)
    alike, found = (_difference(gradients[0], each) for each in gradients[1:])
    return {"difference_of_two_alike": alike, "difference": found, "peak_bytes": peaks[1], "peak_bytes_on_the_host": peaks[2]}


def _difference(found: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    return max(float((one.detach() - other.detach()).abs().max()) for one, other in zip(found, expected, strict=True))


def _reset(device: torch.device) -> int:
    """Bytes allocated now; the peak counts from here. 0 on a processor."""
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
