"""Choose what is `Auto`: the fastest setting that fits, in a fixed order; what the manifest sets is kept.

From fast to slow: the base on every rank before the base sharded; activations kept before activations computed again (1.5 times as fast); nothing sharded (DDP)
before adapters sharded; the most rows in a pass that fit, which share one dequantisation, but no more than the same number of passes needs.

Without `resources.gpuMemory`, or on a CPU, there is nothing to fit: adapters, or everything under method Full, are sharded where there is more than one rank; a
pass has one row; activations are computed again where there are GPUs and no prefix.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from medfinetune_api.choices import Method, OptimizerType, Sharding, Toggle
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import MemoryEstimate

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
    """Each sharding with and without checkpointing, whatever the manifest sets: with one row in a pass, and with the most that fit where that is more."""
    job, limit = Job.of(plan, loss_share), limit_of(plan)
    for sharding in _shardings(plan.parallelism.world_size):
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
    shardings = _shardings(plan.parallelism.world_size) if sharding is Sharding.AUTO else (sharding,)
    if sharding is Sharding.AUTO and plan.training.optimizer.type is not OptimizerType.ADAMW:
        shardings = (Sharding.NONE,)  # bitsandbytes' optimizers know no DTensor
    replicated = [(each, again) for again in checkpointing for each in shardings if each is not Sharding.FULL]
    return replicated + [(Sharding.FULL, again) for again in checkpointing if Sharding.FULL in shardings]


def largest_micro_batch(shape: ModelShape, job: Job, setting: Setting, limit: int) -> int:
    """The most rows in a pass that fit under sharding and checkpointing of `setting`, evened out over the passes that they need; 0 where not one fits."""
    for rows in range(job.rows_per_rank, 0, -1):
        if estimate(shape, job, Setting(setting.sharding, setting.checkpointing, rows)).total <= limit:
            return ceil(job.rows_per_rank / ceil(job.rows_per_rank / rows))
    return 0


def _largest(plan: RunPlan, shape: ModelShape, job: Job, sharding: Sharding, checkpointing: bool, limit: int) -> Fit:
    asked = plan.training.micro_batch
    setting = Setting(sharding, checkpointing, 1 if asked == "Auto" else asked)
    if asked == "Auto":
        setting = Setting(sharding, checkpointing, max(1, largest_micro_batch(shape, job, setting, limit)))
    return Fit(setting, estimate(shape, job, setting, limit))


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


def _shardings(world_size: int) -> tuple[Sharding, ...]:
    return (Sharding.NONE, Sharding.ADAPTERS_ONLY, Sharding.FULL) if world_size > 1 else (Sharding.NONE,)


def _checkpointings(plan: RunPlan, asked: Toggle) -> tuple[bool, ...]:
    """Fastest first. A prefix cannot be computed again (`model/prefix.py`)."""
    if asked is not Toggle.AUTO:
        return (asked is Toggle.ON,)
    return (False,) if plan.tuning.method is Method.PREFIX_TUNING else (False, True)
