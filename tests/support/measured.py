"""Peaks of memory as torch measures them on a CPU: real steps of the product's own model, loss and optimizer under `MemTracker`."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from medfinetune_api.choices import Method, OptimizerType, Sharding
from medfinetune_api.results import MemoryEstimate
from medfinetune_trainer.data.batch import PackedBatch, collate
from medfinetune_trainer.memory.estimate import estimate
from medfinetune_trainer.memory.job import Job, Setting
from medfinetune_trainer.memory.shape import base_shape
from medfinetune_trainer.model.full import Full
from medfinetune_trainer.model.loss import packed_loss
from medfinetune_trainer.model.sharding import trainable
from medfinetune_trainer.model.tuned import Tuning
from medfinetune_trainer.optim.groups import SCALE
from medfinetune_trainer.optim.optimizer import build_optimizer
from support.models import CPU, built, documents, low_rank
from support.plans import lora_plan, optimizer_plan, tuning_plan
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker

PASSES = 2
"""Forward passes of a step: the second finds gradients of the first."""


@dataclass(frozen=True)
class Case:
    """One way to train a tiny base."""

    kind: str
    method: Method
    checkpointing: bool
    micro_batch: int
    row_tokens: int
    dropout: float = 0.0
    loss_share: float = 0.1
    dtype: torch.dtype = torch.float32
    rank: int = 8
    dora: bool = False

    def __str__(self) -> str:
        again = "again" if self.checkpointing else "kept"
        return (
            f"{self.kind}-{self.method}-{again}-{self.micro_batch}x{self.row_tokens}-{self.dropout}-{self.loss_share}-{str(self.dtype)[6:]}"
            + "-dora" * self.dora
        )


class _Tracker(MemTracker):
    """MemTracker hooks every parameter's gradient to name it, and fails on frozen ones; sums do not need the names."""

    def _track_module_params_and_buffers(self, module: nn.Module, install_grad_hooks: bool = True) -> tuple[int, int]:
        return super()._track_module_params_and_buffers(module, install_grad_hooks=False)


def measured(case: Case, base: Path) -> Mapping[str, int]:
    """Bytes at the peak of one step, by MemTracker's names. It sees neither the constants of quantization nor what bitsandbytes takes within an operator."""
    module = built(base, Sharding.NONE, case.dtype, case.checkpointing, _tuning(case, base)).train()
    optimizer = build_optimizer([{"params": trainable(module), "weight_decay": 0.0, SCALE: 1.0}], optimizer_plan())
    batches = _batches(case)
    gc.collect()
    tracker = _Tracker()
    tracker.track_external(module, optimizer)
    with tracker:
        for batch in batches:
            tracker.reset_mod_stats()
            packed_loss(module, batch, groups=2).loss.backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward unannotated
        optimizer.step()
        optimizer.zero_grad()
    peak = tracker.get_tracker_snapshot("peak")[CPU]
    return {getattr(name, "value", str(name)): size for name, size in peak.items()}


def estimated(case: Case, base: Path) -> MemoryEstimate:
    """What the memory plan says of the same step, with the CPU's kernels."""
    lora = lora_plan(rank=case.rank, dropout=case.dropout, use_dora=case.dora) if case.method is not Method.FULL else None
    rows = PASSES * case.micro_batch
    job = Job(
        tuning=tuning_plan(case.method, lora=lora),
        optimizer=OptimizerType.ADAMW,
        offload=(),
        row_tokens=case.row_tokens,
        row_loss_tokens=max(batch.loss_tokens for batch in _batches(case)) / case.micro_batch,
        rows_per_step=rows,
        world_size=1,
        compute_bytes=case.dtype.itemsize,
        cuda=False,
    )
    return estimate(base_shape(base), job, Setting(Sharding.NONE, case.checkpointing, case.micro_batch))


def _tuning(case: Case, base: Path) -> Tuning:
    return Full(base) if case.method is Method.FULL else low_rank(case.method, moved=False, rank=case.rank, dropout=case.dropout, use_dora=case.dora)


def _batches(case: Case) -> list[PackedBatch]:
    """Rows of three documents, full to the last token."""
    half, quarter = case.row_tokens // 2, case.row_tokens // 4
    lengths = (half, quarter, case.row_tokens - half - quarter) * case.micro_batch
    return [collate(documents(lengths, seed, case.loss_share)) for seed in range(PASSES)]
