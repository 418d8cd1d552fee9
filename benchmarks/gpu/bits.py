"""The packed 4-bit base is bit-equal before and after training steps, for each sharding: nothing casts it, rewrites it or lets an optimizer at it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from medfinetune_api.choices import Quantization, Sharding
from medfinetune_api.plan_tuning import LoraPlan
from medfinetune_trainer.data.batch import PackedDocument, collate
from medfinetune_trainer.model.adapter import base_digest
from medfinetune_trainer.model.build import build as build_model
from medfinetune_trainer.model.lora import LowRank
from medfinetune_trainer.model.loss import packed_loss
from medfinetune_trainer.model.sharding import clip_grad_norm, trainable
from tiny_base import build

from benchmarks.gpu.torch_2_11 import mend_sharding_of_bytes


def bits(device: torch.device) -> dict[str, Any]:
    """Whether the digest of the gathered base is the same before and after three optimizer steps, and whether torch had to be mended for it."""
    mended = mend_sharding_of_bytes()
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", init_method="tcp://127.0.0.1:0", rank=0, world_size=1)
    with tempfile.TemporaryDirectory() as name:
        base = build(Path(name) / "base", ["The heart pumps blood.", "심장은 피를 보낸다."] * 50, kind="gemma3")
        digests = {sharding.value: _trained_digests(base, sharding, device) for sharding in (Sharding.ADAPTERS_ONLY, Sharding.FULL, Sharding.NONE)}
    dist.destroy_process_group()
    equal = {name: before == after for name, (before, after) in digests.items()}
    return {"bit_equal": equal, "torch_mended": mended, "passed": all(equal.values())}


def _trained_digests(base: Path, sharding: Sharding, device: torch.device) -> tuple[str, str]:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    lora = LoraPlan(rank=8, alpha=16, dropout=0.05, target_modules="all-linear", use_rslora=False, use_dora=False, loraplus_lr_ratio=1)
    module = build_model(base, LowRank(lora, Quantization.NF4, seed=0), dtype, device, sharding, packed=True).train()
    batch = collate([PackedDocument(list(range(5, 5 + length)), [1] * length, 0) for length in (40, 90)]).to(device)
    optimizer, before = torch.optim.AdamW(trainable(module), lr=1e-3), base_digest(module)
    for _ in range(3):
        packed_loss(module, batch, groups=1).loss.backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward unannotated
        clip_grad_norm(module, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return before, base_digest(module)
