"""Tiny bases, adapted models and packed batches for tests of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from medfinetune_api.choices import Method
from medfinetune_api.plan import LoraPlan
from medfinetune_trainer.data.batch import PackedBatch, PackedDocument, collate
from medfinetune_trainer.model.architectures import architecture_of
from medfinetune_trainer.model.attention import use_packed_attention
from medfinetune_trainer.model.load import load_base
from medfinetune_trainer.model.lora import add_adapter
from peft import PeftModel
from tiny_base import Kind, build

CPU = torch.device("cpu")
TEXTS = ("The heart pumps blood through the body.", "심장은 온몸으로 피를 보낸다.") * 8
VOCABULARY = 320
"""Below the size of every tiny tokenizer's vocabulary."""


def tiny(folder: Path, kind: Kind, **overrides: Any) -> Path:
    """A tiny base in `folder`, built once."""
    return folder if (folder / "config.json").exists() else build(folder, TEXTS, kind, 512, **overrides)


def lora_plan(**changes: Any) -> LoraPlan:
    return LoraPlan(**({"rank": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": "all-linear"} | changes))


def adapted(base: Path, method: Method = Method.QLORA, dtype: torch.dtype = torch.float32, moved: bool = True, **lora: Any) -> PeftModel:
    """The base with packed attention and an adapter; `moved` draws B, whose start at zero would hide what A does."""
    architecture = architecture_of(base)
    model = load_base(base, architecture, method, dtype, CPU)
    use_packed_attention(model, architecture)
    model = add_adapter(model, lora_plan(**lora), architecture, seed=1)
    if moved:
        move(model)
    return model


def move(model: PeftModel) -> None:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05, generator=generator)


def documents(lengths: tuple[int, ...], seed: int = 0, loss_share: float = 0.3) -> list[PackedDocument]:
    """Random documents; about `loss_share` of their tokens carry loss, the last always."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for index, length in enumerate(lengths):
        ids = torch.randint(9, VOCABULARY, (length,), generator=generator).tolist()
        mask = (torch.rand(length, generator=generator) < loss_share).int().tolist()
        made.append(PackedDocument(ids, [*mask[:-1], 1], index % 2))
    return made


def batch(lengths: tuple[int, ...], seed: int = 0) -> PackedBatch:
    return collate(documents(lengths, seed))
