"""Parts of a RunPlan with the tests' own values, so that a new field of the contract is written once."""

from __future__ import annotations

from typing import Any

from medfinetune_api.choices import (
    ChatTemplate,
    DecontaminationAction,
    LossOn,
    Method,
    OptimizerType,
    Overlong,
    Packing,
    Precision,
    PrivacyAction,
    Quantization,
    RemoveFrom,
    Schedule,
    Scoring,
    Sharding,
    Toggle,
)
from medfinetune_api.plan_data import DataPlan, ValidationPlan
from medfinetune_api.plan_evaluation import EvaluationPlan, TaskPlan
from medfinetune_api.plan_screening import DecontaminationPlan, PrivacyPlan
from medfinetune_api.plan_training import OptimizerPlan, ParallelismPlan, SchedulerPlan, TrainingPlan
from medfinetune_api.plan_tuning import LoraPlan, TuningPlan


def lora_plan(**changes: Any) -> LoraPlan:
    """Rank 4 on every linear layer, without dropout."""
    plain = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": "all-linear", "use_rslora": False, "use_dora": False, "loraplus_lr_ratio": 1}
    return LoraPlan(**(plain | changes))


def tuning_plan(method: Method = Method.QLORA, **changes: Any) -> TuningPlan:
    """`method` with what it implies; `changes` replace fields of the TuningPlan."""
    quantization = Quantization.NF4 if method is Method.QLORA else Quantization.NONE
    lora = lora_plan() if method in (Method.QLORA, Method.LORA) else None
    return TuningPlan(**({"method": method, "quantization": quantization, "lora": lora} | changes))


def optimizer_plan(**changes: Any) -> OptimizerPlan:
    """AdamW with its usual constants and without decay."""
    plain = {"type": OptimizerType.ADAMW, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0, "max_grad_norm": 1.0}
    return OptimizerPlan(**(plain | changes))


def training_plan(**changes: Any) -> TrainingPlan:
    """One epoch at a constant rate in fp32, one row a micro-batch."""
    plain: dict[str, Any] = {
        "epochs": 1,
        "learning_rate": 2e-4,
        "scheduler": SchedulerPlan(type=Schedule.CONSTANT, warmup_steps=0, minimum_ratio=0.0),
        "optimizer": optimizer_plan(),
        "global_batch_tokens": 1024,
        "precision": Precision.FP32,
        "micro_batch": 1,
        "activation_checkpointing": Toggle.OFF,
        "offload": (),
        "layer_decay": 1.0,
        "neftune_noise_alpha": 0.0,
        "seed": 0,
    }
    return TrainingPlan(**(plain | changes))


def parallelism_plan(**changes: Any) -> ParallelismPlan:
    """One process on the CPU."""
    return ParallelismPlan(**({"nodes": 1, "gpus_per_node": 0, "sharding": Sharding.AUTO, "gpu_memory_headroom": 0.2} | changes))


def data_plan(**changes: Any) -> DataPlan:
    """No sources, nothing held out, nothing screened; rows of 64 tokens."""
    plain: dict[str, Any] = {
        "sources": (),
        "validation": ValidationPlan(fraction=0.0, stratify_by=(), sources=()),
        "max_length": 64,
        "packing": Packing.BEST_FIT,
        "loss_on": LossOn.RESPONSE,
        "overlong": Overlong.ERROR,
        "chat_template": ChatTemplate.TOKENIZER,
        "privacy": PrivacyPlan(action=PrivacyAction.DISABLED, record_numbers=(), name_models=()),
        "decontamination": decontamination_plan(),
    }
    return DataPlan(**(plain | changes))


def decontamination_plan(**changes: Any) -> DecontaminationPlan:
    """Disabled, with the manifest's defaults for the rest."""
    plain = {"action": DecontaminationAction.DISABLED, "remove_from": RemoveFrom.EVALUATION, "ngram_threshold": 0.5}
    return DecontaminationPlan(**(plain | changes))


def task_plan(**fields: Any) -> TaskPlan:
    """Unseen questions, asked once by letter."""
    plain = {"seen": False, "scoring": Scoring.LETTER, "option_orders": 1, "metrics": (), "repeats": 1, "max_new_tokens": 16}
    return TaskPlan(**(plain | fields))


def evaluation_part(**changes: Any) -> EvaluationPlan:
    """Nothing is asked."""
    plain = {"baseline": False, "batch_size": 1, "tasks": (), "forgetting_threshold": 0.05, "glossaries": (), "gates": ()}
    return EvaluationPlan(**(plain | changes))
