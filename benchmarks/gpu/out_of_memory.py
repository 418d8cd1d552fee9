"""A step whose micro-batch does not fit the accelerator is halved until it does, and is then the step that the smaller micro-batch takes.

On a GPU the allocator gets a cap half way between what a quarter of the step's rows and what all of them take (not run on a GPU yet). A processor has no
allocator that can be capped: there passes above a quarter of the rows fail by themselves, in the place of the loss.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from medfinetune_api.choices import Quantization, Sharding, Stage
from medfinetune_api.plan_tuning import LoraPlan
from medfinetune_trainer.data.batch import PackedBatch, PackedDocument, collate
from medfinetune_trainer.model.build import build as build_model
from medfinetune_trainer.model.lora import LowRank
from medfinetune_trainer.model.loss import packed_loss
from medfinetune_trainer.model.sharding import clip_grad_norm, gradient_sync
from medfinetune_trainer.optim.fitting import Fitting
from medfinetune_trainer.optim.loss_scale import LossScale
from medfinetune_trainer.optim.parts import Parts
from medfinetune_trainer.optim.ranks import Ranks
from medfinetune_trainer.optim.step import Stepper
from medfinetune_trainer.optim.window import Window
from tiny_base import build
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

ROWS = 16


@dataclass(frozen=True)
class EqualRows:
    """Rows of one document of `tokens` tokens each."""

    tokens: int

    def __len__(self) -> int:
        return ROWS

    def batch(self, rows: range) -> PackedBatch:
        """The rows end to end."""
        return collate([PackedDocument([5 + (row + token) % 200 for token in range(self.tokens)], [1] * self.tokens, 0) for row in rows])

    def documents(self, row: int) -> list[tuple[int, str]]:
        """The one document of a row."""
        return [(row, "made")]


def out_of_memory(device: torch.device) -> dict[str, Any]:
    """Rows that were tried and did not fit, rows that did, and by how much the update differs from that of a step of this size, relative to its norm."""
    rows = EqualRows(2048 if device.type == "cuda" else 16)
    with tempfile.TemporaryDirectory() as name:
        base = build(Path(name) / "base", ["The heart pumps blood.", "심장은 피를 보낸다."] * 50, kind="gemma3")
        parts = _parts(base, device)
        tried: list[int] = []
        with _capped(parts, rows) as capped:
            fitting = Fitting(Stage.TRAIN, ROWS, may_halve=True)
            halved = _update(lambda size: _step(capped, size, rows), fitting, tried, parts)
        plain = _update(lambda size: _step(parts, size, rows), Fitting(Stage.TRAIN, fitting.rows, may_halve=False), [], parts)
    difference = float((halved - plain).norm() / plain.norm())
    return {"did_not_fit": tried, "fits": fitting.rows, "relative_difference": difference, "passed": bool(tried) and difference < 1e-2}


def _parts(base: Path, device: torch.device) -> Parts:
    lora = LoraPlan(rank=8, alpha=16, dropout=0.05, target_modules="all-linear", use_rslora=False, use_dora=False, loraplus_lr_ratio=1)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    module = build_model(base, LowRank(lora, Quantization.NF4, seed=0), dtype, device, Sharding.NONE, packed=True).train()
    return Parts(module, device, partial(packed_loss, groups=1), gradient_sync, clip_grad_norm)


def _step(parts: Parts, size: int, rows: EqualRows) -> None:
    optimizer = torch.optim.SGD(parts.trained(), lr=1.0)  # Adam's first step would make a whole step of the last bit of a vanishing gradient
    stepper = Stepper(parts, optimizer, LossScale.fresh(dynamic=False), Ranks(0, 1), size, max_grad_norm=1.0, seed=0)
    stepper.step(Window(1, 0, range(ROWS), ends_epoch=True), rows)


def _update(step: Callable[[int], None], fitting: Fitting, tried: list[int], parts: Parts) -> Tensor:
    """By how much one step moves what is trained, which is put back."""
    before = parameters_to_vector(parts.trained()).detach().clone()
    fitting.run(step, tried.append)
    after = parameters_to_vector(parts.trained()).detach().clone()
    vector_to_parameters(before, parts.trained())
    return after - before


@contextmanager
def _capped(parts: Parts, rows: EqualRows) -> Iterator[Parts]:
    """An accelerator on which a quarter of the rows fits and all of them do not."""
    if parts.device.type != "cuda":
        yield replace(parts, loss=partial(_refusing, parts, rows.tokens * ROWS // 4))
        return
    least, most = (_peak(parts, size, rows) for size in (ROWS // 4, ROWS))
    total = torch.cuda.get_device_properties(parts.device).total_memory
    torch.cuda.set_per_process_memory_fraction((least + most) / 2 / total, parts.device)
    try:
        yield parts
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, parts.device)


def _refusing(parts: Parts, tokens: int, module: nn.Module, batch: PackedBatch) -> Any:
    if batch.tokens > tokens:
        raise torch.OutOfMemoryError
    return parts.loss(module, batch)


def _peak(parts: Parts, size: int, rows: EqualRows) -> int:
    """Bytes that the allocator holds at most during a forward and backward pass of `size` rows."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(parts.device)
    parts.loss(parts.module, rows.batch(range(size)).to(parts.device)).loss.backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward unannotated
    parts.module.zero_grad(set_to_none=True)
    peak = torch.cuda.max_memory_reserved(parts.device)
    torch.cuda.empty_cache()
    return peak
