"""The memory plan against measured peaks: real steps of the product's own model, loss and optimizer on random weights of published shapes.

On CUDA: Gemma 3 4B and Llama 3 8B, QLoRA and LoRA, with and without activation checkpointing, one and two rows of 2,048 tokens, by torch.cuda's own peak. Only
the first layers of each are built, so that it takes seconds: one layer takes what another does, and the plan is asked about the same few. On a CPU the same
script runs in miniature, and builds and steps without a peak to compare with (tests/trainer/test_memory_measured.py has one). Not run on a GPU yet.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from medfinetune_api.choices import Method, OptimizerType, Quantization, Sharding
from medfinetune_api.plan_tuning import LoraPlan, TuningPlan
from medfinetune_trainer.data.batch import PackedBatch, PackedDocument, collate
from medfinetune_trainer.memory.estimate import estimate
from medfinetune_trainer.memory.job import Job, Setting
from medfinetune_trainer.memory.published import GEMMA_3_4B_TEXT, LLAMA_3_8B
from medfinetune_trainer.memory.shape import base_shape
from medfinetune_trainer.model.build import build as build_model
from medfinetune_trainer.model.lora import LowRank
from medfinetune_trainer.model.loss import packed_loss
from medfinetune_trainer.model.sharding import trainable

from benchmarks.gpu.bases import first_layers
from benchmarks.gpu.budget import SKIPPED, Budget

LAYERS = 6
LORA = LoraPlan(rank=16, alpha=64, dropout=0.05, target_modules="all-linear", use_rslora=False, use_dora=False, loraplus_lr_ratio=1)
GOAL = 0.1
"""Largest error of a plan, as a share of the measured peak."""


@dataclass(frozen=True)
class Case:
    """One way to train one shape."""

    model: str
    method: Method
    checkpointing: bool
    rows: int

    @property
    def tuning(self) -> TuningPlan:
        """The method with the study's adapter."""
        return TuningPlan(method=self.method, quantization=Quantization.NF4 if self.method is Method.QLORA else Quantization.NONE, lora=LORA)


def cases(device: torch.device) -> list[Case]:
    """All of them on CUDA; on a CPU one of each kind."""
    if device.type == "cpu":
        return [Case(LLAMA_3_8B, Method.QLORA, True, 1), Case(GEMMA_3_4B_TEXT, Method.LORA, False, 1)]
    models, methods = (GEMMA_3_4B_TEXT, LLAMA_3_8B), (Method.QLORA, Method.LORA)
    return [Case(model, method, again, rows) for model in models for method in methods for again in (False, True) for rows in (1, 2)]


def memory(device: torch.device, budget: Budget) -> dict[str, Any]:
    """Estimated and measured peak of every case, in bytes; the error as a share of the measured."""
    with tempfile.TemporaryDirectory() as name:
        bases = {model: first_layers(Path(name) / f"base-{number}", model, LAYERS, device) for number, model in enumerate((GEMMA_3_4B_TEXT, LLAMA_3_8B))}
        found = [_named(case) | (SKIPPED if budget.is_spent else _compared(case, bases[case.model], device)) for case in cases(device)]
    errors = [abs(one["error"]) for one in found if one.get("error") is not None]
    met = all("estimate" in one for one in found) and all(error <= GOAL for error in errors)
    return {"layers": LAYERS, "cases": found, "largest_error": max(errors, default=None), "passed": met}


def _named(case: Case) -> dict[str, Any]:
    return {"model": case.model, "method": case.method.value, "checkpointing": case.checkpointing, "rows": case.rows}


def _compared(case: Case, base: Path, device: torch.device) -> dict[str, Any]:
    tokens = 2048 if device.type == "cuda" else 64
    batch = _batch(case.rows, tokens)
    job = Job(case.tuning, OptimizerType.ADAMW, (), tokens, batch.loss_tokens / case.rows, 2 * case.rows, 1, 2, device.type == "cuda")
    plan = estimate(base_shape(base), job, Setting(Sharding.NONE, case.checkpointing, case.rows))
    peak = _peak(case, base, batch.to(device), device)
    error = None if peak is None else plan.total / peak - 1
    return {"estimate": plan.model_dump(exclude_none=True), "measured": peak, "error": error}


def _peak(case: Case, base: Path, batch: PackedBatch, device: torch.device) -> int | None:
    """Bytes at the peak of two steps of two passes; None on a CPU, whose allocator keeps no account."""
    tuning = LowRank(LORA, case.tuning.quantization, seed=0)
    module = build_model(base, tuning, torch.bfloat16, device, Sharding.NONE, packed=True, activation_checkpointing=case.checkpointing).train()
    optimizer = torch.optim.AdamW(trainable(module), lr=1e-4)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    for _ in range(2):
        for _ in range(2):
            packed_loss(module, batch, groups=1).loss.backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward unannotated
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def _batch(rows: int, tokens: int) -> PackedBatch:
    """Full rows of four documents; every tenth token carries loss."""
    mask = [int(index % 10 == 9) for index in range(tokens // 4)]
    return collate([PackedDocument([7 + index % 400 for index in range(tokens // 4)], mask, 0) for _ in range(4 * rows)])
