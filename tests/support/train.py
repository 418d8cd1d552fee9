"""Prepared run folders of a handful of documents, and ways to train them: in this process, in a gang of forked ranks, and through the real program."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from datasets import Dataset
from medfinetune_api.choices import Method, Packing, Precision, Schedule, Sharding, Toggle
from medfinetune_api.plan import Identity, ModelPlan, Mounts, OutputPlan, RunPlan
from medfinetune_api.plan_data import ValidationPlan
from medfinetune_api.plan_training import CheckpointPlan, SchedulerPlan
from medfinetune_api.plan_tuning import LoraPlan
from medfinetune_api.results import Chosen, PackingReport, Prepared
from medfinetune_trainer.artifacts.files import sha256_file
from medfinetune_trainer.artifacts.history import read
from medfinetune_trainer.data.epochs import VALIDATION, epoch_name, write_index
from medfinetune_trainer.model.fingerprint import weights_sha256
from medfinetune_trainer.optim.ranks import Ranks
from medfinetune_trainer.optim.window import windows
from medfinetune_trainer.stages.train_loop import train
from support.gang import gang
from support.models import VOCABULARY, tiny
from support.plans import data_plan, evaluation_part, lora_plan, optimizer_plan, parallelism_plan, training_plan, tuning_plan

LANGUAGES = ("en", "ko")
SECONDS = 600.0
"""Time bound of one wait: far above what it takes on a busy machine, so that only a deadlock reaches it."""

Documents = Sequence[tuple[Sequence[int], Sequence[int], str]]
"""(input_ids, loss_mask, language) each."""


def random_documents(count: int, seed: int = 0) -> Documents:
    """Documents of 6 to 30 random tokens; the last four carry loss."""
    random = np.random.default_rng(seed)
    lengths = random.integers(6, 31, count)
    return [(random.integers(10, VOCABULARY, n).tolist(), [0] * (n - 4) + [1] * 4, LANGUAGES[i % 2]) for i, n in enumerate(lengths)]


def _lora(changes: dict[str, Any]) -> LoraPlan:
    return lora_plan(rank=changes.pop("lora_rank", 4), dropout=changes.pop("dropout", 0.0))


def plan_for(root: Path, base: Path, **changes: Any) -> RunPlan:
    """A plan whose output volume is `root`; `changes` replace fields of the training plan, or are taken out of it by name below."""
    training: dict[str, Any] = {
        "epochs": 2,
        "learning_rate": 1e-2,
        "scheduler": SchedulerPlan(type=Schedule.COSINE, warmup_steps=2, minimum_ratio=0.1),
        "optimizer": optimizer_plan(weight_decay=0.01),
        "global_batch_tokens": 192,
        "precision": Precision.AUTO,
    }
    return RunPlan(
        identity=Identity(name="run", namespace="local", uid="00000000-0000-0000-0000-000000000000"),
        mounts=Mounts(models=str(base.parent), data=str(root), output=str(root)),
        model=ModelPlan(path=base.name, sha256=None),
        data=data_plan(
            validation=ValidationPlan(fraction=0.1, stratify_by=(), sources=()),
            max_length=changes.pop("max_length", 64),
            packing=changes.pop("packing", Packing.BEST_FIT),
        ),
        tuning=changes.pop("tuning", None)
        or tuning_plan(changes.pop("method", Method.QLORA), lora=lora_plan(rank=changes.pop("lora_rank", 4), dropout=changes.pop("dropout", 0.0))),
        parallelism=parallelism_plan(),
        checkpoint=CheckpointPlan(every_steps=changes.pop("every_steps", 3), keep=changes.pop("keep", 2)),
        evaluation=evaluation_part(),
        output=OutputPlan(retain=(), merge=False),
        training=training_plan(**(training | changes)),
    )


def prepare(plan: RunPlan, train: Documents, validation: Documents, sharding: Sharding = Sharding.ADAPTERS_ONLY) -> Prepared:
    """Lay out what the stage prepare leaves, from tokenised documents."""
    data = plan.folder.data
    (data / "epochs").mkdir(parents=True)
    _save(train, data / "train")
    _save(validation, data / "validation")
    rows = [_index(plan, epoch_name(epoch), train, (plan.training.seed, epoch)) for epoch in range(plan.training.epochs)]
    held_out = _index(plan, VALIDATION, validation, (plan.training.seed, 10_000))
    hashes = {str(file.relative_to(data)): sha256_file(file) for file in data.rglob("*") if file.is_file()}
    (data / "manifest.json").write_text(json.dumps({"languages": LANGUAGES, "files": hashes}))
    steps = sum(1 for _ in windows(rows, plan.rows_per_step))
    micro_batch = plan.rows_per_step if plan.training.micro_batch == "Auto" else plan.training.micro_batch
    prepared = Prepared(
        plan_sha256=plan.sha256,
        sources=(),
        packing=PackingReport(
            efficiency=0.9,
            efficiency_unpacked=0.3,
            rows=rows[0],
            rows_unpacked=len(train),
            steps_per_epoch=steps // len(rows),
            steps_per_epoch_unpacked=len(train),
        ),
        chosen=Chosen(
            sharding=sharding,
            micro_batch=micro_batch,
            activation_checkpointing=plan.training.activation_checkpointing is Toggle.ON,
            evaluate_on_gang=False,
        ),
        train_documents=len(train),
        validation_documents=len(validation),
        validation_rows=held_out,
        total_steps=steps,
        loss_token_share=0.2,
        weights_sha256=weights_sha256(Path(plan.mounts.models, plan.model.path)),
        tasks_sha256={},
    )
    plan.folder.prepared.write_text(prepared.to_json())
    return prepared


def small_run(root: Path, sharding: Sharding = Sharding.ADAPTERS_ONLY, documents: int = 24, **changes: Any) -> RunPlan:
    """A prepared run of 2 epochs, 3 rows a step, so that ranks run out of rows; with 24 documents that is 7 rows and 3 steps an epoch, the last of one row."""
    plan = plan_for(root, tiny(root.parent / "base", "llama"), **changes)
    prepare(plan, random_documents(documents), random_documents(6, seed=1), sharding)
    return plan


def train_here(plan: RunPlan, folder: Path) -> Mapping[str, float]:
    """Train as a gang of one in this process; `folder` stands for the agent's."""
    folder.mkdir(exist_ok=True)
    return train(plan, _prepared(plan), Ranks.here(), torch.device("cpu"), folder)


def train_gang(plan: RunPlan, world_size: int, folder: Path) -> Mapping[str, float]:
    """Train as `world_size` forked ranks over gloo; rank 0's numbers."""
    numbers: Mapping[str, float] = gang(world_size, train_rank, plan.to_json(), str(folder))[0]
    return numbers


def train_rank(rank: int, plan_json: str, folder: str) -> Mapping[str, float]:
    """Train as one rank of `support.gang.gang`."""
    return train_here(RunPlan.model_validate_json(plan_json), Path(folder))


def losses(plan: RunPlan) -> list[float]:
    """The loss of every step, in order, as metrics.jsonl has it."""
    steps = [line for line in read(plan.folder.metrics) if line["kind"] == "step"]
    assert [line["step"] for line in steps] == list(range(1, len(steps) + 1))
    return [line["loss"] for line in steps]


def validations(plan: RunPlan) -> list[Mapping[str, Any]]:
    """Every validation's figures by language, in order."""
    return [line["by_language"] for line in read(plan.folder.metrics) if line["kind"] == "validation"]


@dataclass
class Agent:
    """One running stage of a gang: `python -m medfinetune_trainer train` or `evaluate`."""

    process: subprocess.Popen[str]
    log: Path
    metrics_port: int

    def end(self) -> tuple[int, dict[str, Any]]:
        """Wait for its end: exit code and StageResult. AssertionError with the log where that never comes; its ranks die with it."""
        try:
            out, _ = self.process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"no end within {SECONDS} s: {self.log.read_text()}") from None
        return self.process.returncode, json.loads(out.splitlines()[-1])

    def workers(self) -> list[psutil.Process]:
        """Its ranks' processes, once they run."""
        return [child for child in psutil.Process(self.process.pid).children() if _is_rank(child)]

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until `condition()` is true; AssertionError with the log where that never comes, or the agent ends first."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"waited {SECONDS} s for {what}: {self.log.read_text()}"
            assert self.process.poll() is None, f"ended before {what}: {self.log.read_text()}"
            time.sleep(0.02)


def agents(plan: RunPlan, nodes: int, logs: Path, started: int | None = None, stage: str = "train", **environment: str) -> list[Agent]:
    """Start the stage on `nodes` nodes of one worker each (only the first `started` of them), as an executor does."""
    logs.mkdir(exist_ok=True)
    file = logs / "plan.json"
    file.write_text(plan.to_json())
    port, *metrics = free_ports(1 + nodes)
    gang = {"PET_NNODES": str(nodes), "PET_NPROC_PER_NODE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"} | environment
    return [_agent(stage, file, logs / f"node-{node}.log", metrics[node], gang | {"PET_NODE_RANK": str(node)}) for node in range(started or nodes)]


def free_ports(count: int) -> list[int]:
    """Ports that are free now, all different."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _agent(stage: str, plan: Path, log: Path, metrics_port: int, environment: Mapping[str, str]) -> Agent:
    command = [sys.executable, "-m", "medfinetune_trainer", stage, "--plan", str(plan)]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=os.environ | environment | {"MEDFINETUNE_METRICS_PORT": str(metrics_port)}
        )
    return Agent(process, log, metrics_port)


def _prepared(plan: RunPlan) -> Prepared:
    return Prepared.model_validate_json(plan.folder.prepared.read_bytes())


def _save(documents: Documents, folder: Path) -> None:
    columns = ("input_ids", "loss_mask", "language")
    sources = {"source": [f"exam-{language}" for _, _, language in documents]}
    Dataset.from_dict({name: [document[i] for document in documents] for i, name in enumerate(columns)} | sources).save_to_disk(folder)


def _index(plan: RunPlan, name: str, documents: Documents, seed: tuple[int, int]) -> int:
    file = plan.folder.data / "epochs" / f"{name}.arrow"
    lengths = np.array([len(ids) for ids, _, _ in documents], dtype=np.int32)
    numbers = np.arange(len(documents), dtype=np.int32)
    return write_index(file, numbers, lengths, max_length=plan.data.max_length, packing=plan.data.packing, seed=seed)


def _is_rank(process: psutil.Process) -> bool:
    """Whether it is a rank of a gang: an agent may start other helpers."""
    try:
        return "medfinetune_trainer.stages.worker" in process.cmdline()
    except psutil.Error:  # ended meanwhile
        return False
