"""Choose what is `Auto`: the fastest setting that fits, in a fixed order; what the manifest sets is kept.

From fast to slow: the base on every rank before the base sharded; activations kept before activations computed again (1.5 times as fast); nothing sharded (DDP)
before adapters sharded; the most rows in a pass that fit, which share one dequantisation, but no more than the same number of passes needs.

Without `resources.gpuMemory`, or on a CPU, there is nothing to fit: adapters, or everything under method Full, are sharded where there is more than one rank; a
pass has one row; activations are computed again where there are GPUs and no prefix.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from medfinetune_api.choices import Method, OptimizerType, Sharding, Toggle
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import MemoryEstimate
from medfinetune_api.scalars import MOST_ROWS

from medfinetune_trainer.memory.estimate import estimate
from medfinetune_trainer.memory.job import Job, Setting
from medfinetune_trainer.memory.shape import ModelShape


@dataclass(frozen=True)
class Fit:
    """A setting and what it takes."""

    setting: Setting
    memory: MemoryEstimate

    @property
    def fits(self) -> bool:
        """Whether it stays within the limit; true where there is none."""
        return self.memory.limit is None or self.memory.total <= self.memory.limit


def limit_of(plan: RunPlan) -> int | None:
    """gpuMemory less its head-room, in bytes; None where the manifest does not say, or trains on a CPU."""
    parallelism = plan.parallelism
    if parallelism.gpu_memory is None or parallelism.gpus_per_node == 0:
        return None
    return int(parallelism.gpu_memory * (1 - parallelism.gpu_memory_headroom))


def choose(plan: RunPlan, shape: ModelShape, loss_share: float) -> Fit:
    """The first setting that fits, or the one that takes the least where none does.

    Args:
        plan: with its explicit choices and its GPU.
        shape: of the base.
        loss_share: of all tokens, 0 to 1.
    """
    job, limit = Job.of(plan, loss_share), limit_of(plan)
    if limit is None:
        setting = _unlimited(plan)
        return Fit(setting, estimate(shape, job, setting))
    found = [_largest(plan, shape, job, *pair, limit) for pair in pairs(plan)]
    return next((fit for fit in found if fit.fits), min(found, key=lambda fit: fit.memory.total))


def alternatives(plan: RunPlan, shape: ModelShape, loss_share: float) -> Iterator[Fit]:
    """Each sharding that the optimizer allows, whatever the manifest sets, with and without checkpointing: with one row in a pass, and the most that fit."""
    job, limit = Job.of(plan, loss_share), limit_of(plan)
    for sharding in _shardings(plan):
        for checkpointing in _checkpointings(plan, Toggle.AUTO):
            one = Setting(sharding, checkpointing, 1)
            yield Fit(one, estimate(shape, job, one, limit))
            largest = largest_micro_batch(shape, job, one, limit) if limit is not None else 1
            if largest > 1:
                most = Setting(sharding, checkpointing, largest)
                yield Fit(most, estimate(shape, job, most, limit))


def pairs(plan: RunPlan) -> list[tuple[Sharding, bool]]:
    """Sharding and checkpointing that the manifest allows, fastest first."""
    sharding, checkpointing = plan.parallelism.sharding, _checkpointings(plan, plan.training.activation_checkpointing)
    shardings = _shardings(plan) if sharding is Sharding.AUTO else (sharding,)
    replicated = [(each, again) for again in checkpointing for each in shardings if each is not Sharding.FULL]
    return replicated + [(Sharding.FULL, again) for again in checkpointing if Sharding.FULL in shardings]


def largest_micro_batch(shape: ModelShape, job: Job, setting: Setting, limit: int) -> int:
    """The most rows in a pass that fit under sharding and checkpointing of `setting`, evened out over the passes that they need; 0 where not one fits.

    More rows take more memory, but for all rows at once: a single pass finds no gradients of another.
    """

    def too_many(rows: int) -> bool:
        return estimate(shape, job, Setting(setting.sharding, setting.checkpointing, rows)).total > limit

    most = min(job.rows_per_rank, MOST_ROWS)
    if not too_many(most):
        rows = most
    elif not (rows := bisect_left(range(1, most), True, key=too_many)):
        return 0
    return ceil(job.rows_per_rank / ceil(job.rows_per_rank / rows))


def _largest(plan: RunPlan, shape: ModelShape, job: Job, sharding: Sharding, checkpointing: bool, limit: int) -> Fit:
    """The most rows that fit; where none do, the fewest or all at once, whichever takes less."""
    asked = plan.training.micro_batch
    if asked != "Auto":
        rows = [asked]
    else:
        largest = largest_micro_batch(shape, job, Setting(sharding, checkpointing, 1), limit)
        rows = [largest] if largest else [1, min(job.rows_per_rank, MOST_ROWS)]
    fits = [Fit(setting, estimate(shape, job, setting, limit)) for setting in (Setting(sharding, checkpointing, each) for each in rows)]
    return min(fits, key=lambda fit: fit.memory.total)


def _unlimited(plan: RunPlan) -> Setting:
    parallelism, training = plan.parallelism, plan.training
    spread = Sharding.FULL if plan.tuning.method is Method.FULL else Sharding.ADAPTERS_ONLY
    automatic = spread if parallelism.world_size > 1 and training.optimizer.type is OptimizerType.ADAMW else Sharding.NONE
    again = _checkpointings(plan, training.activation_checkpointing)
    return Setting(
        automatic if parallelism.sharding is Sharding.AUTO else parallelism.sharding,
        again[-1] if parallelism.gpus_per_node > 0 else again[0],
        1 if training.micro_batch == "Auto" else training.micro_batch,
    )


def _shardings(plan: RunPlan) -> tuple[Sharding, ...]:
    """bitsandbytes' optimizers know no DTensor."""
    shared = plan.parallelism.world_size > 1 and plan.training.optimizer.type is OptimizerType.ADAMW
    return (Sharding.NONE, Sharding.ADAPTERS_ONLY, Sharding.FULL) if shared else (Sharding.NONE,)


def _checkpointings(plan: RunPlan, asked: Toggle) -> tuple[bool, ...]:
    """Fastest first. A prefix cannot be computed again (`model/prefix.py`)."""
    if asked is not Toggle.AUTO:
        return (asked is Toggle.ON,)
    return (False,) if plan.tuning.method is Method.PREFIX_TUNING else (False, True)
