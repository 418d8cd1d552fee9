"""Projections before a run (Yoo et al. 2026, Table 8): this manifest's method and GPU on models of 4B, 7B, 13B and 70B; and the four steps of the study's
ablation on the manifest's model, beside the figures that the study publishes (Tables 5 and 6: MedGemma 4B on an L40S; its own numbers disagree in places).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from medfinetune_api.choices import Method, OptimizerType, Packing, Precision, Quantization, Sharding
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_tuning import TuningPlan
from medfinetune_api.results import MemoryEstimate

from medfinetune_trainer.memory.choose import Fit, choose
from medfinetune_trainer.memory.estimate import estimate
from medfinetune_trainer.memory.job import Job, Setting
from medfinetune_trainer.memory.published import PROJECTED, PUBLISHED
from medfinetune_trainer.memory.refusal import ADAPTER
from medfinetune_trainer.memory.shape import ModelShape, shape_of
from medfinetune_trainer.model.architectures import ARCHITECTURES


@dataclass(frozen=True)
class Projected:
    """One published shape under this manifest."""

    model: str
    parameters: int
    fit: Fit


@dataclass(frozen=True)
class Step:
    """One step of the ablation: what this trainer takes, and what the study measured."""

    name: str
    setting: Setting
    memory: MemoryEstimate
    published_gb: int


def published_shape(model: str) -> ModelShape:
    """The shape of a model of `published.PUBLISHED`."""
    config = PUBLISHED[model]
    return shape_of(config, ARCHITECTURES[config["model_type"]], model)


def projection(plan: RunPlan, loss_share: float) -> Iterator[Projected]:
    """`plan` on 4B, 7B, 13B and 70B."""
    for model in PROJECTED:
        shape = published_shape(model)
        yield Projected(model, shape.parameters, choose(plan, shape, loss_share))


def ablation(plan: RunPlan, shape: ModelShape, loss_share: float) -> Iterator[Step]:
    """The four steps on a base of `shape`, one row of the plan's length in a pass, activations kept, two ranks at least from the third on.

    Packing takes no memory away here: a row that is not packed holds one document and no padding, and the longest is as long as a row.
    """
    adapter = plan.tuning.lora or ADAPTER
    qlora = TuningPlan(method=Method.QLORA, quantization=Quantization.NF4, lora=adapter)
    full = TuningPlan(method=Method.FULL, quantization=Quantization.NONE)
    unpacked = plan.model_copy(update={"data": plan.data.model_copy(update={"packing": Packing.NONE})})
    steps = (
        ("full fine-tuning", unpacked, full, 1, Sharding.NONE, 48),
        ("+ QLoRA", unpacked, qlora, 1, Sharding.NONE, 28),
        ("+ FSDP of the adapters", unpacked, qlora, max(2, plan.parallelism.world_size), Sharding.ADAPTERS_ONLY, 24),
        ("+ packing", plan, qlora, max(2, plan.parallelism.world_size), Sharding.ADAPTERS_ONLY, 20),
    )
    for name, source, tuning, ranks, sharding, published in steps:
        setting = Setting(sharding, checkpointing=False, micro_batch=1)
        yield Step(name, setting, estimate(shape, _job(source, tuning, ranks, loss_share), setting), published)


def _job(plan: RunPlan, tuning: TuningPlan, ranks: int, loss_share: float) -> Job:
    """In 16 bits on `ranks` GPUs with plain AdamW, whatever the manifest says of those."""
    optimizer = plan.training.optimizer.model_copy(update={"type": OptimizerType.ADAMW})
    training = plan.training.model_copy(update={"optimizer": optimizer, "offload": (), "precision": Precision.BF16})
    gang = plan.parallelism.model_copy(update={"nodes": 1, "gpus_per_node": ranks})
    return Job.of(plan.model_copy(update={"tuning": tuning, "training": training, "parallelism": gang}), loss_share)
