"""Test sets, a tiny base and a plan for tests of evaluation: the example's questions, or the real ones where they lie at hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from medfinetune_api.choices import ChatTemplate, Format, Sharding
from medfinetune_api.plan import Identity, ModelPlan, Mounts, OutputPlan, RunPlan
from medfinetune_api.plan_data import SourcePlan
from medfinetune_api.plan_evaluation import TaskPlan
from medfinetune_api.plan_training import CheckpointPlan
from medfinetune_api.results import Chosen, PackingReport, Prepared
from medfinetune_trainer.evaluation.questions import file_sha256
from medfinetune_trainer.model.fingerprint import weights_sha256
from support.plans import data_plan, evaluation_part, parallelism_plan, task_plan, training_plan, tuning_plan
from tiny_base import build

GUARD = """
import os, sys

def guard(event, arguments):
    internet = event == "socket.connect" and isinstance(arguments[1], tuple)
    if internet or event in ("socket.getaddrinfo", "socket.gethostbyname"):
        os.write(2, f"network asked for: {event}".encode())
        os._exit(97)

sys.addaudithook(guard)
"""
"""Python's start-up file of a process that must not ask for a network; the audit event is raised before the call, and no library can catch the exit."""

EXAMPLE = Path(__file__).parents[2] / "examples" / "01-minimal" / "data"
MEDQA, KORMEDMCQA = EXAMPLE / "medqa" / "test.jsonl", EXAMPLE / "kormedmcqa" / "test.csv"


def real_data() -> Path | None:
    """The folder of real test data, None where MEDFINETUNE_TEST_DATA names none."""
    folder = os.environ.get("MEDFINETUNE_TEST_DATA", "")
    return Path(folder) if folder and Path(folder).is_dir() else None


def tiny_base(folder: Path, **config: Any) -> Path:
    """A tiny Gemma 3 with a tokenizer trained on the example's test sets; `config` replaces fields of the model's."""
    texts = [line for path in (MEDQA, KORMEDMCQA) for line in path.read_text(encoding="utf-8").splitlines()]
    return build(folder, texts * 4, vocabulary=900, **config)


def without_network(folder: Path) -> Path:
    """A folder for PYTHONPATH: a process that starts with it ends with 97 as soon as it looks up a name or connects to anything but a Unix socket."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(GUARD, encoding="utf-8")
    return folder


def task(name: str, path: Path, format: Format, language: str, mount: Path, limit: int | None = None) -> TaskPlan:
    return task_plan(name=name, path=str(path.relative_to(mount)), format=format, language=language, limit=limit)


def example_tasks() -> tuple[TaskPlan, ...]:
    """Both of the example's test sets; their paths are relative to EXAMPLE."""
    return task("medqa", MEDQA, Format.MEDQA, "en", EXAMPLE), task("kormedmcqa", KORMEDMCQA, Format.KORMEDMCQA, "ko", EXAMPLE)


def evaluation_plan(root: Path, base: Path, tasks: tuple[TaskPlan, ...], template: ChatTemplate = ChatTemplate.TOKENIZER, baseline: bool = True) -> RunPlan:
    """A plan on the example's data whose output volume is `root`."""
    source = SourcePlan(name="medqa", path="medqa/train.jsonl", format=Format.MEDQA, language="en", domain="medical", subject=None, columns=None)
    return RunPlan(
        identity=Identity(name="test", namespace="local", uid="00000000-0000-0000-0000-000000000000"),
        mounts=Mounts(models=str(base.parent), data=str(EXAMPLE), output=str(root)),
        model=ModelPlan(path=base.name, sha256=None),
        data=data_plan(sources=(source,), max_length=256, chat_template=template),
        tuning=tuning_plan(),
        training=training_plan(),
        parallelism=parallelism_plan(sharding=Sharding.NONE),
        checkpoint=CheckpointPlan(every_steps=100, keep=1),
        evaluation=evaluation_part(baseline=baseline, batch_size=4, tasks=tasks),
        output=OutputPlan(retain=(), merge=False),
    )


def mark_prepared(plan: RunPlan) -> None:
    """Leave the prepared.json that evaluation reads: the plan's hash and that of the base's weights; the rest counts nothing."""
    packing = PackingReport(efficiency=0, efficiency_unpacked=0, rows=0, rows_unpacked=0, steps_per_epoch=0, steps_per_epoch_unpacked=0)
    prepared = Prepared(
        plan_sha256=plan.sha256,
        sources=(),
        packing=packing,
        chosen=Chosen(sharding=Sharding.NONE, micro_batch=1, activation_checkpointing=False, evaluate_on_gang=False),
        train_documents=0,
        validation_documents=0,
        validation_rows=0,
        total_steps=0,
        loss_token_share=0,
        weights_sha256=weights_sha256(Path(plan.mounts.models, plan.model.path)),
        tasks_sha256={task.name: file_sha256(task, Path(plan.mounts.data)) for task in plan.evaluation.tasks},
    )
    plan.folder.root.mkdir(parents=True, exist_ok=True)
    plan.folder.prepared.write_text(prepared.to_json(), encoding="utf-8")
