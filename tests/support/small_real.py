"""A whole small run, made by the stages themselves in this process: prepared and screened, trained in two attempts, evaluated, told, signed."""

from __future__ import annotations

import shutil
from pathlib import Path

from medfinetune_api.plan import RunPlan
from medfinetune_trainer.stages import evaluate, prepare
from support.manifests import minimal_manifest, plan_for
from support.stages import EXAMPLE, SOURCES, models_volume
from support.train import train_here

TASKS = [
    {"name": "medqa", "path": "medqa/test.jsonl", "format": "MedQA", "language": "en", "limit": 8},
    {"name": "kormedmcqa", "path": "kormedmcqa/test.csv", "format": "KorMedMCQA", "language": "ko", "limit": 8},
]
GATES = [{"name": "any", "task": "medqa", "minimum": 0.0}]


def small_real_run(output: Path, scratch: Path) -> RunPlan:
    """The run's plan; everything is retained. Training is taken up again from its first checkpoint by a second attempt."""
    manifest = minimal_manifest(
        data={"sources": SOURCES, "maxLength": 512, "privacy": {"action": "Warn"}, "decontamination": {"action": "Report"}},
        tuning={"method": "LoRA", "lora": {"rank": 2, "alpha": 4}},
        training={"epochs": 1, "globalBatchTokens": 8192},
        checkpoint={"everySteps": 1, "keep": 2},
        evaluation={"tasks": TASKS, "gates": GATES},
        output={"retain": ["Data", "Samples", "Checkpoints"]},
        parallelism={"nodes": 1, "gpusPerNode": 0},
    )
    plan = plan_for(manifest, models_volume(), EXAMPLE, output)
    plan.folder.root.mkdir(parents=True)
    prepare.run(plan)
    train_here(plan, scratch)
    newest = max(plan.folder.checkpoints.glob("step-*"), key=lambda folder: int(folder.name[5:]))
    for lost in (plan.folder.final, newest):
        shutil.rmtree(lost)
    train_here(plan, scratch)
    evaluate.run(plan)
    return plan
