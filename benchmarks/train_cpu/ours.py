"""The product's own step, and the same step with one of its parts taken away, to say what each gains."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from medfinetune_api.choices import Quantization, Sharding
from medfinetune_api.plan_tuning import LoraPlan
from medfinetune_trainer.data.batch import PackedBatch
from medfinetune_trainer.model.build import build
from medfinetune_trainer.model.lora import LowRank
from medfinetune_trainer.model.loss import LossSums, packed_loss
from medfinetune_trainer.model.sharding import clip_grad_norm, gradient_sync
from medfinetune_trainer.optim.loss_scale import LossScale
from medfinetune_trainer.optim.parts import Parts
from medfinetune_trainer.optim.ranks import Ranks
from medfinetune_trainer.optim.step import Stepper
from medfinetune_trainer.optim.window import Window
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from benchmarks.train_cpu.workload import Rows

LORA = LoraPlan(rank=16, alpha=64, dropout=0.05, target_modules="all-linear", use_rslora=False, use_dora=False, loraplus_lr_ratio=1)
CPU = torch.device("cpu")


@dataclass
class Ours:
    """The product's step, one row at a time, and how fast it goes."""

    stepper: Stepper
    rows: Rows
    steps: int = 0

    def step(self) -> float:
        """Take one step; its tokens a second."""
        row = self.steps % len(self.rows)
        self.steps += 1
        started = time.perf_counter()
        figures = self.stepper.step(Window(self.steps, 0, range(row, row + 1), ends_epoch=False), self.rows)
        return figures.tokens / (time.perf_counter() - started)


def ours(base: Path, rows: Rows, dtype: torch.dtype, quantization: Quantization = Quantization.NF4, loss: Callable[..., LossSums] = packed_loss) -> Ours:
    """The step of a run on `base`: QLoRA of rank 16 on every linear layer, computed in `dtype`, no activation checkpointing. The others take a part away."""
    module = build(base, LowRank(LORA, quantization, seed=0), dtype, CPU, Sharding.NONE, packed=True).train()
    parts = Parts(module, CPU, partial(loss, groups=1), gradient_sync, clip_grad_norm)
    optimizer = torch.optim.AdamW(parts.trained(), lr=2e-4)
    return Ours(Stepper(parts, optimizer, LossScale.fresh(dynamic=False), Ranks.here(), 1, 1.0, 0), rows)


def all_logits(model: nn.Module, batch: PackedBatch, groups: int) -> LossSums:
    """The loss from the logits of every token, of which most are thrown away."""
    kept = {"cu_seqlens": batch.cu_seqlens, "max_seqlen": batch.max_seqlen}
    logits = model(input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False, **kept).logits[0].float()
    losses = functional.cross_entropy(logits[batch.loss_positions], batch.targets, reduction="none")
    none = torch.zeros(groups)
    return LossSums(losses.sum(), none, none.long(), none.long())


def dense_attention(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, cu_seqlens: Tensor, **_: object) -> tuple[Tensor, None]:
    """Attention over the whole row under a mask that keeps documents apart."""
    groups = query.shape[1] // key.shape[1]
    document = torch.repeat_interleave(torch.arange(len(cu_seqlens) - 1), cu_seqlens.diff().long())
    mask = (document[:, None] == document[None]).tril()
    keys, values = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    return functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=getattr(module, "scaling", None)).transpose(1, 2), None


def with_dense_attention(base: Path, rows: Rows, dtype: torch.dtype) -> Ours:
    """The product's step with a dense mask in place of its attention by document."""
    changed = ours(base, rows, dtype)
    ALL_ATTENTION_FUNCTIONS.register("benchmark_dense", dense_attention)
    model = changed.stepper.parts.module.get_base_model()
    model.set_attn_implementation("benchmark_dense")
    return changed
