"""Tiny bases, adapted models and packed batches for tests of the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from medfinetune_api.choices import Method, Quantization, Sharding
from medfinetune_trainer.data.batch import PackedBatch, PackedDocument, collate
from medfinetune_trainer.model.adapter import base_digest, save_trained
from medfinetune_trainer.model.architectures import architecture_of
from medfinetune_trainer.model.build import build as build_model
from medfinetune_trainer.model.keyed import keyed
from medfinetune_trainer.model.lora import LowRank
from medfinetune_trainer.model.loss import loss_logits, packed_loss
from medfinetune_trainer.model.sharding import clip_grad_norm, gathered, gradient_sync, trainable, unwrapped
from medfinetune_trainer.model.tuned import Tuning
from medfinetune_trainer.optim import window
from medfinetune_trainer.optim.loss_scale import LossScale
from medfinetune_trainer.optim.parts import Parts
from medfinetune_trainer.optim.ranks import Ranks
from medfinetune_trainer.optim.step import Stepper, micro_batch_seed
from medfinetune_trainer.optim.validation import validate
from peft import PeftModel
from support.plans import lora_plan
from tiny_base import Kind, build
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn import functional

CPU = torch.device("cpu")
TEXTS = ("The heart pumps blood through the body.", "심장은 온몸으로 피를 보낸다.") * 8
VOCABULARY = 320
"""Below the size of every tiny tokenizer's vocabulary."""


def tiny(folder: Path, kind: Kind, **overrides: Any) -> Path:
    """A tiny base in `folder`, built once."""
    return folder if (folder / "config.json").exists() else build(folder, TEXTS, kind, 512, **overrides)


@dataclass(frozen=True)
class Moved(LowRank):
    """LoRA whose B is drawn too: its start at zero would hide what A does."""

    def initialise(self, name: str, module: nn.Module) -> None:
        super().initialise(name, module)
        for path, parameter in module.named_parameters(prefix=name):
            if ".lora_B." in path:
                parameter.data.copy_(torch.empty(parameter.shape).normal_(std=0.05, generator=keyed(self.seed, path)))


def low_rank(method: Method = Method.QLORA, moved: bool = True, **lora: Any) -> LowRank:
    quantization = Quantization.NF4 if method is Method.QLORA else Quantization.NONE
    return (Moved if moved else LowRank)(lora_plan(**lora), quantization, seed=1)


def built(base: Path, sharding: Sharding | None, dtype: torch.dtype = torch.float32, checkpointed: bool = False, tuning: Tuning | None = None) -> nn.Module:
    """The product's own model for training."""
    return build_model(base, tuning or low_rank(), dtype, CPU, sharding, packed=True, activation_checkpointing=checkpointed)


def adapted(base: Path, method: Method = Method.QLORA, dtype: torch.dtype = torch.float32, moved: bool = True, **lora: Any) -> PeftModel:
    """The same, whole in this process: base with packed attention and an adapter."""
    model = built(base, None, dtype, tuning=low_rank(method, moved, **lora))
    assert isinstance(model, PeftModel)
    return model


def save_adapter(module: nn.Module, folder: Path, base: str) -> None:
    save_trained(low_rank(), module, folder, base)


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


WINDOW = window.Window(step=1, epoch=0, rows=range(5), ends_epoch=True)


@dataclass(frozen=True)
class Window:
    """What one accumulation window did: everything gathered, equal on all ranks."""

    loss: float
    """Mean over the window's loss tokens."""
    tokens: int
    """Those that carry loss."""
    gradients: dict[str, Tensor]
    norm: float
    digests: tuple[str, str]


@dataclass(frozen=True)
class DrawnRows:
    """Packed rows of three random documents; how many of a row's tokens carry loss differs from row to row."""

    count: int

    def __len__(self) -> int:
        return self.count

    def batch(self, rows: range) -> PackedBatch:
        return collate([document for row in rows for document in documents((5, 20, 9), seed=row)])


def run_window(
    rank: int,
    base: Path,
    sharding: Sharding,
    dtype: torch.dtype = torch.float32,
    checkpointed: bool = False,
    dropout: float = 0.1,
    tuning: Tuning | None = None,
    micro_batch: int = 1,
) -> Window:
    """Step 1 of the product's `Stepper` on five rows; the gradients are those it is about to clip. `tuning` stands for QLoRA with `dropout`.

    Then a forward in eval mode and one more, so that `digests` shows the base before and after.
    """
    module = built(base, sharding, dtype, checkpointed, tuning or low_rank(dropout=dropout)).train()
    gradients: dict[str, Tensor] = {}

    def clip(module: nn.Module, norm: float) -> float:
        gradients.update(gradients_of(module))
        return clip_grad_norm(module, norm)

    loss = partial(packed_loss, groups=2)
    parts = Parts(module, CPU, loss, gradient_sync, clip)
    optimizer, scale = torch.optim.AdamW(trainable(module), lr=1e-2), LossScale.fresh(dynamic=dtype is torch.float16)
    before = base_digest(module)
    figures = Stepper(parts, optimizer, scale, Ranks.here(), micro_batch, max_grad_norm=1.0, seed=0).step(WINDOW, DrawnRows(5))
    with torch.no_grad():
        loss(module.eval(), batch((5, 20, 9)))
        loss(module.train(), batch((5, 20, 9)))
    assert figures.gradient_norm is not None
    return Window(figures.loss, figures.loss_tokens, gradients, figures.gradient_norm, (before, base_digest(module)))


def plain_window(base: Path, dropout: float = 0.1, tuning: Tuning | None = None) -> Window:
    """The oracle: autograd of one mean over the window's loss tokens, in one process; a row's dropout is drawn from (seed, step, row)."""
    model = built(base, None, tuning=tuning or low_rank(dropout=dropout)).train()
    rows = [DrawnRows(5).batch(range(row, row + 1)) for row in range(5)]
    logits = []
    for number, row in enumerate(rows):
        torch.manual_seed(micro_batch_seed(0, WINDOW.step, number))
        logits.append(loss_logits(model, row))
    targets = torch.cat([row.targets for row in rows])
    loss = functional.cross_entropy(torch.cat(logits), targets)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward unannotated
    gradients = gradients_of(model)
    norm = torch.cat([gradient.flatten() for gradient in gradients.values()]).norm()
    return Window(loss.item(), len(targets), gradients, float(norm), (base_digest(model),) * 2)


def assert_equal(ranks: list[Window], expected: Window) -> None:
    """Loss, gradients and norm to 1e-5, and the same base, on every rank."""
    for found in ranks:
        assert found.loss == pytest.approx(expected.loss, rel=1e-5)
        assert found.tokens == expected.tokens
        assert found.norm == ranks[0].norm == pytest.approx(expected.norm, rel=1e-5)
        assert found.digests == expected.digests
        assert found.gradients.keys() == expected.gradients.keys()
        worst = max(relative(found.gradients[name], gradient) for name, gradient in expected.gradients.items())
        assert worst < 1e-5


def validated(_: int, base: Path, micro_batch: int) -> dict[str, tuple[float, float, float]]:
    """(loss, accuracy, loss tokens) by language of the product's `validate` on two rows, with dropout that it must turn off."""
    module = built(base, Sharding.FULL, tuning=low_rank(Method.LORA, dropout=0.5)).train()
    parts = Parts(module, CPU, partial(packed_loss, groups=2), gradient_sync, clip_grad_norm)
    found = validate(parts, DrawnRows(2), ("en", "ko"), Ranks.here(), micro_batch)
    assert module.training
    return {language: (quality.loss, quality.accuracy, quality.loss_tokens) for language, quality in found.items()}


def plain_quality(base: Path) -> dict[str, tuple[float, float, float]]:
    """The oracle: one cross-entropy over each language's tokens, in one process; the first and third document of a row are English."""
    model, rows = adapted(base, Method.LORA).eval(), [DrawnRows(2).batch(range(row, row + 1)) for row in range(2)]
    with torch.no_grad():
        logits = torch.cat([loss_logits(model, row) for row in rows])
    targets, groups = (torch.cat([getattr(row, name) for row in rows]) for name in ("targets", "groups"))
    chosen = {"en": groups == 0, "ko": groups == 1, "all": groups >= 0}
    return {name: _mean_quality(logits[tokens], targets[tokens]) for name, tokens in chosen.items()}


def _mean_quality(logits: Tensor, targets: Tensor) -> tuple[float, float, float]:
    return functional.cross_entropy(logits, targets).item(), (logits.argmax(-1) == targets).double().mean().item(), len(targets)


def gradients_of(module: nn.Module) -> dict[str, Tensor]:
    """Every trained parameter's gradient, gathered, by name. Collective."""
    return {name: gathered(parameter.grad).clone() for name, parameter in unwrapped(module).named_parameters() if parameter.grad is not None}


def relative(found: Tensor, expected: Tensor) -> float:
    """L2 norm of the difference over that of `expected`."""
    return float((found - expected).norm() / expected.norm().clamp_min(1e-12))


def held(_: int, base: Path, sharding: Sharding) -> tuple[int, int]:
    """Bytes of trained and of frozen parameters that this rank holds."""
    sizes = [0, 0]
    for parameter in built(base, sharding).parameters():
        local = parameter.to_local() if isinstance(parameter, DTensor) else parameter
        sizes[not parameter.requires_grad] += local.numel() * local.element_size()
    return sizes[0], sizes[1]


def train_and_save(_: int, base: Path, folder: Path, sharding: Sharding, method: Method) -> Tensor:
    """Two optimizer steps, then save; returns the logits of two documents at every position."""
    module = built(base, sharding, tuning=low_rank(method)).train()
    optimizer = torch.optim.AdamW(trainable(module), lr=1e-2)
    for seed in range(2):
        packed_loss(module, batch((5, 20), seed), groups=2).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    save_adapter(module, folder, "models/tiny")
    packed = batch((20, 9))
    with torch.no_grad():
        return loss_logits(module.eval(), replace(packed, loss_positions=torch.arange(packed.tokens)))


def read_by_peft(_: int, base: Path, folder: Path, method: Method) -> Tensor:
    """The same logits from transformers and PEFT alone, one document at a time."""
    quantization = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    kind = getattr(transformers, architecture_of(base).class_name)
    model = kind.from_pretrained(base, quantization_config=quantization if method is Method.QLORA else None, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, folder).train()  # in eval mode bitsandbytes may repack the base and compute in bf16
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([document.input_ids])).logits[0] for document in documents((20, 9))])
