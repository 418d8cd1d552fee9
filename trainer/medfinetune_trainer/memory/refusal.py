"""What would fit, where nothing does: each way by itself, with all else as the manifest has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from medfinetune_api.choices import Method, OptimizerType, Quantization, Sharding, Toggle
from medfinetune_api.errors import DoesNotFit
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_tuning import LoraPlan, TuningPlan

from medfinetune_trainer.memory.choose import Fit, choose
from medfinetune_trainer.memory.shape import ModelShape
from medfinetune_trainer.memory.words import GIB, described, gib

GPUS = (1, 2, 4, 8, 16)
"""Of a node: numbers that are tried."""
SHORTEST_ROW = 256
HEADROOM = 0.2
"""The manifest's default."""
ADAPTER = LoraPlan(rank=16, alpha=64, dropout=0.05, target_modules="all-linear", use_rslora=False, use_dora=False, loraplus_lr_ratio=1)
"""Where the manifest has none."""


@dataclass(frozen=True)
class Remedy:
    """One change that makes the run fit."""

    field: str
    """Manifest field."""
    value: str
    """What to set it to."""
    fit: Fit
    """What is chosen then."""


def remedies(plan: RunPlan, shape: ModelShape, loss_share: float) -> list[Remedy]:
    """Each single change that makes `plan` fit, the least of its kind. Empty where none of them does."""
    tried = (_memory, _headroom, _gpus, _row_length, _checkpointing, _method)
    return [remedy for way in tried for remedy in way(plan, shape, loss_share)]


def does_not_fit(plan: RunPlan, fit: Fit, found: list[Remedy]) -> DoesNotFit:
    """The refusal of a plan whose least setting is `fit`."""
    memory, parallelism = fit.memory, plan.parallelism
    assert memory.limit is not None
    assert parallelism.gpu_memory is not None
    ways = "; ".join(f"{remedy.field}: {remedy.value}" for remedy in found)
    return DoesNotFit(
        "spec.resources.gpuMemory",
        found=f"{gib(memory.total)} a GPU at least ({described(fit.setting)})",
        expected=f"at most {gib(memory.limit)}: {gib(parallelism.gpu_memory)} less {100 * parallelism.gpu_memory_headroom:.6g}% head-room",
        remedy=f"Any one of these fits: {ways}." if ways else "Choose a smaller base: neither more GPUs, shorter rows nor QLoRA is enough.",
    )


def _fits(plan: RunPlan, shape: ModelShape, loss_share: float, field: str, value: str) -> Iterator[Remedy]:
    fit = choose(plan, shape, loss_share)
    if fit.fits:
        yield Remedy(field, value, fit)


def _memory(plan: RunPlan, shape: ModelShape, loss_share: float) -> Iterator[Remedy]:
    """The least memory of a GPU, in whole GiB."""
    least = choose(plan, shape, loss_share).memory.total
    size = ceil(least / (1 - plan.parallelism.gpu_memory_headroom) / GIB)
    yield from _fits(_with(plan, "parallelism", gpu_memory=size * GIB), shape, loss_share, "spec.resources.gpuMemory", f"{size}Gi")


def _headroom(plan: RunPlan, shape: ModelShape, loss_share: float) -> Iterator[Remedy]:
    """The default, where the manifest leaves more than that free."""
    if plan.parallelism.gpu_memory_headroom > HEADROOM:
        less = _with(plan, "parallelism", gpu_memory_headroom=HEADROOM)
        yield from _fits(less, shape, loss_share, "spec.resources.gpuMemoryHeadroom", str(HEADROOM))


def _gpus(plan: RunPlan, shape: ModelShape, loss_share: float) -> Iterator[Remedy]:
    """The fewest GPUs that share base and optimizer, where the optimizer can be shared."""
    if plan.training.optimizer.type is not OptimizerType.ADAMW:
        return
    for gpus in GPUS:
        if gpus > plan.parallelism.gpus_per_node:
            more = _with(plan, "parallelism", gpus_per_node=gpus, sharding=Sharding.FULL)
            if found := list(_fits(more, shape, loss_share, "spec.parallelism", f"{{gpusPerNode: {gpus}, sharding: Full}}")):
                yield found[0]
                return


def _row_length(plan: RunPlan, shape: ModelShape, loss_share: float) -> Iterator[Remedy]:
    """The longest row, halved until it fits."""
    length = plan.data.max_length // 2
    while length >= SHORTEST_ROW:
        shorter = _with(_with(plan, "data", max_length=length), "training", global_batch_tokens=plan.rows_per_step * length)
        if found := list(_fits(shorter, shape, loss_share, "spec.data.maxLength", str(length))):
            yield found[0]
            return
        length //= 2


def _checkpointing(plan: RunPlan, shape: ModelShape, loss_share: float) -> Iterator[Remedy]:
    """Where the manifest forbids it, or asks for more rows in a pass than needed."""
    if plan.training.activation_checkpointing is Toggle.OFF and plan.tuning.method is not Method.PREFIX_TUNING:
        again = _with(plan, "training", activation_checkpointing=Toggle.ON)
        yield from _fits(again, shape, loss_share, "spec.training.activationCheckpointing", "Enabled")
    if plan.training.micro_batch not in ("Auto", 1):
        yield from _fits(_with(plan, "training", micro_batch="Auto"), shape, loss_share, "spec.training.microBatch", "Auto")


def _method(plan: RunPlan, shape: ModelShape, loss_share: float) -> Iterator[Remedy]:
    """QLoRA, where something else is asked for."""
    if plan.tuning.method is not Method.QLORA:
        tuning = TuningPlan(method=Method.QLORA, quantization=Quantization.NF4, lora=plan.tuning.lora or ADAPTER)
        yield from _fits(plan.model_copy(update={"tuning": tuning}), shape, loss_share, "spec.tuning.method", "QLoRA")


def _with(plan: RunPlan, part: str, **changes: object) -> RunPlan:
    return plan.model_copy(update={part: getattr(plan, part).model_copy(update=changes)})
