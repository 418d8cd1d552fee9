"""Peaks of memory as torch measures them on a CPU: real steps of the product's own model, loss and optimizer under `MemTracker`."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from medfinetune_api.choices import Method, Offload, OptimizerType, Placement, Quantization, Sharding
from medfinetune_api.plan_tuning import BottleneckPlan, PrefixPlan, TuningPlan
from medfinetune_api.results import MemoryEstimate
from medfinetune_trainer.data.batch import PackedBatch, collate
from medfinetune_trainer.memory.estimate import estimate
from medfinetune_trainer.memory.job import Job, Setting
from medfinetune_trainer.memory.shape import base_shape
from medfinetune_trainer.model.bottleneck_tuning import Bottlenecks
from medfinetune_trainer.model.full import Full
from medfinetune_trainer.model.loss import packed_loss
from medfinetune_trainer.model.prefix import Prefix
from medfinetune_trainer.model.sharding import gradient_sync, trainable
from medfinetune_trainer.model.tuned import Tuning
from medfinetune_trainer.optim.groups import SCALE
from medfinetune_trainer.optim.offload import ActivationsOnHost
from medfinetune_trainer.optim.optimizer import build_optimizer
from support.models import CPU, built, documents, low_rank
from support.plans import lora_plan, optimizer_plan, tuning_plan
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.distributed._tools.common_utils import get_untyped_storages
from torch.distributed._tools.mem_tracker import MemTracker
from torch.distributed._tools.mod_tracker import ModTracker
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.weak import WeakIdKeyDictionary

PASSES = 2
"""Forward passes of a rank's step: the second finds gradients of the first."""


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
    placement: Placement = Placement.SEQUENTIAL
    """Of a bottleneck adapter."""
    optimizer: OptimizerType = OptimizerType.ADAMW
    sharding: Sharding = Sharding.NONE
    world_size: int = 1
    offload: tuple[Offload, ...] = ()

    def __str__(self) -> str:
        again = "again" if self.checkpointing else "kept"
        named = [str(self.dtype)[6:], "dora" * self.dora, str(self.placement) * (self.method is Method.BOTTLENECK)]
        others = [str(value) for value, usual in ((self.optimizer, OptimizerType.ADAMW), (self.sharding, Sharding.NONE)) if value is not usual]
        others += map(str, self.offload)
        parts = [self.kind, str(self.method), again, f"{self.micro_batch}x{self.row_tokens}", str(self.dropout), str(self.loss_share), *named, *others]
        return "-".join(part for part in parts if part)

    @property
    def tuning(self) -> TuningPlan:
        """What is trained. A prefix has 16 virtual tokens, a bottleneck 32 units; their base is NF4."""
        adapted = {"quantization": Quantization.NF4}
        if self.method is Method.FULL:
            return tuning_plan(self.method)
        if self.method is Method.PREFIX_TUNING:
            return tuning_plan(self.method, **adapted, prefix=PrefixPlan(num_virtual_tokens=16))
        if self.method is Method.BOTTLENECK:
            bottleneck = BottleneckPlan(size=32, placement=self.placement, scale=1.0, dropout=self.dropout)
            return tuning_plan(self.method, **adapted, bottleneck=bottleneck)
        return tuning_plan(self.method, lora=lora_plan(rank=self.rank, dropout=self.dropout, use_dora=self.dora))


class _NoHooks(ModTracker):
    """Registers nothing on modules. The hooks that MemTracker's own would register tie a graph that is thrown away, as DoRA's of its norm, into cycles of
    references: its tensors then lived until the next garbage collection.
    """

    def __enter__(self) -> _NoHooks:
        return self

    def __exit__(self, *_: Any) -> None:
        pass


class Tracker(MemTracker):
    """MemTracker of storages alone; gradients have their name once `track_external` has seen them. What `offloaded` puts on the host does not count."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        self._mod_tracker = _NoHooks()
        self._host = WeakIdKeyDictionary()

    def offloaded(self) -> saved_tensors_hooks:
        """The product's hooks of activations on the host. On a CPU the host is the device: here its copies do not count, and the way back is a copy too."""
        hooks = ActivationsOnHost()

        def pack(saved: Tensor) -> Any:
            with _disable_current_modes():
                packed = hooks.pack_hook(saved)
            if not isinstance(packed, Tensor):
                self._host[packed[1].untyped_storage()] = True
            return packed

        return saved_tensors_hooks(pack, lambda packed: hooks.unpack_hook(packed) if isinstance(packed, Tensor) else hooks.unpack_hook(packed).clone())

    def _track(self, reftype: Any, t: Tensor) -> None:
        if not any(storage in self._host for storage in get_untyped_storages(t)):
            super()._track(reftype, t)

    @property
    def peak(self) -> Mapping[str, int]:
        """Bytes by MemTracker's names."""
        return {getattr(name, "value", str(name)): size for name, size in self.get_tracker_snapshot("peak")[CPU].items()}


def measured(case: Case, base: Path, rank: int = 0) -> Mapping[str, int]:
    """Bytes at the peak of one step of this rank, by MemTracker's names. It sees neither the constants of quantization nor what bitsandbytes takes within an
    operator.
    """
    module = built(base, case.sharding, case.dtype, case.checkpointing, _tuning(case, base)).train()
    optimizer = build_optimizer([{"params": trainable(module), "weight_decay": 0.0, SCALE: 1.0}], optimizer_plan(type=case.optimizer))
    batches = _batches(case, rank)
    gc.collect()
    tracker = Tracker()
    tracker.track_external(module, optimizer)
    with tracker:
        for number, batch in enumerate(batches, start=1):
            gradient_sync(module, number == PASSES)
            with tracker.offloaded() if Offload.ACTIVATIONS in case.offload else nullcontext():
                loss = packed_loss(module, batch, groups=2).loss
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward unannotated
            tracker.track_external(module)
        optimizer.step()
        optimizer.zero_grad()
    return tracker.peak


def measured_by_rank(rank: int, cases: list[Case], base: Path) -> list[Mapping[str, int]]:
    """The peaks of this rank of a gang."""
    return [measured(case, base, rank) for case in cases]


def estimated(case: Case, base: Path) -> MemoryEstimate:
    """What the memory plan says of the same step, with the CPU's kernels."""
    job = Job(
        tuning=case.tuning,
        optimizer=case.optimizer,
        offload=case.offload,
        row_tokens=case.row_tokens,
        row_loss_tokens=max(batch.loss_tokens for batch in _batches(case)) / case.micro_batch,
        rows_per_step=PASSES * case.micro_batch * case.world_size,
        world_size=case.world_size,
        compute_bytes=case.dtype.itemsize,
        cuda=False,
    )
    return estimate(base_shape(base), job, Setting(case.sharding, case.checkpointing, case.micro_batch))


def _tuning(case: Case, base: Path) -> Tuning:
    plan = case.tuning
    if plan.prefix is not None:
        return Prefix(plan.prefix, plan.quantization, seed=1)
    if plan.bottleneck is not None:
        return Bottlenecks(plan.bottleneck, plan.quantization, seed=1)
    return Full(base) if plan.lora is None else low_rank(case.method, moved=False, rank=case.rank, dropout=case.dropout, use_dora=case.dora)


def _batches(case: Case, rank: int = 0) -> list[PackedBatch]:
    """Rows full to the last token: of three documents, or of one behind a prefix."""
    half, quarter = case.row_tokens // 2, case.row_tokens // 4
    row = (case.row_tokens,) if case.method is Method.PREFIX_TUNING else (half, quarter, case.row_tokens - half - quarter)
    return [collate(documents(row * case.micro_batch, PASSES * rank + number, case.loss_share)) for number in range(PASSES)]
