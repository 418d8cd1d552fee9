"""Bottleneck adapters and prefixes for tests, away from their start, and what is asked of any method: that it learns, and that ranks do not change it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from medfinetune_api.choices import Placement, Quantization, Sharding
from medfinetune_api.plan_tuning import BottleneckPlan, PrefixPlan
from medfinetune_trainer.data.batch import PackedDocument, collate
from medfinetune_trainer.model.adapter import save_trained
from medfinetune_trainer.model.bottleneck import NAME
from medfinetune_trainer.model.bottleneck_tuning import Bottlenecks
from medfinetune_trainer.model.keyed import keyed
from medfinetune_trainer.model.loss import loss_logits, packed_loss
from medfinetune_trainer.model.neftune import add_neftune
from medfinetune_trainer.model.prefix import PARAMETER, Prefix
from medfinetune_trainer.model.sharding import trainable
from medfinetune_trainer.model.tuned import Adapter, Tuning
from support.models import VOCABULARY, Window, built, documents, run_window
from torch import Tensor, nn

LENGTHS = (20, 1, 9, 5)


@dataclass(frozen=True)
class MovedBottlenecks(Bottlenecks):
    """Every weight is drawn: a start at zero would hide what down and the biases do."""

    def initialise(self, name: str, module: nn.Module) -> None:
        for path, parameter in module.named_parameters(prefix=name):
            if f".{NAME}." in path:
                parameter.data.copy_(torch.empty(parameter.shape).normal_(std=0.2, generator=keyed(self.seed, path)))


@dataclass(frozen=True)
class MovedPrefix(Prefix):
    """As large as the states that it stands beside."""

    def initialise(self, name: str, module: nn.Module) -> None:
        super().initialise(name, module)
        for path, parameter in module.named_parameters(prefix=name):
            if path == PARAMETER:
                parameter.data.mul_(50)


def bottlenecks(placement: Placement = Placement.SEQUENTIAL, moved: bool = True, quantization: Quantization = Quantization.NF4, **shape: Any) -> Bottlenecks:
    plain: dict[str, Any] = {"size": 6, "placement": placement, "scale": 2.0, "dropout": 0.0}
    plan = BottleneckPlan(**(plain | shape))
    return (MovedBottlenecks if moved else Bottlenecks)(plan, quantization, seed=1)


def prefix(tokens: int = 5, moved: bool = True, quantization: Quantization = Quantization.NF4) -> Prefix:
    return (MovedPrefix if moved else Prefix)(PrefixPlan(num_virtual_tokens=tokens), quantization, seed=1)


def packed_logits(module: nn.Module) -> Tensor:
    """(tokens, vocabulary): of four documents at every position, end to end as training lays them."""
    packed = collate(documents(LENGTHS))
    with torch.no_grad():
        return loss_logits(module, replace(packed, loss_positions=torch.arange(packed.tokens)))


def logits_apart(model: nn.Module) -> Tensor:
    """The same from a model with plain attention, one document at a time."""
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([document.input_ids])).logits[0] for document in documents(LENGTHS)])


def windows(rank: int, base: Path, tuning: Tuning, checkpointed: bool, micro_batch: int) -> list[Window]:
    """`run_window` with every sharding, for `support.gang.gang`."""
    return [run_window(rank, base, sharding, torch.float32, checkpointed, 0.0, tuning, micro_batch) for sharding in SHARDINGS]


SHARDINGS = (Sharding.ADAPTERS_ONLY, Sharding.FULL, Sharding.NONE)


def trained_and_saved(_: int, base: Path, folder: Path, tuning: Adapter, sharding: Sharding) -> Tensor:
    """Two optimizer steps, then save; the trained model's `packed_logits`."""
    module = built(base, sharding, tuning=tuning).train()
    optimizer = torch.optim.AdamW(trainable(module), lr=1e-2)
    for seed in range(2):
        torch.autograd.backward(packed_loss(module, collate(documents((5, 20), seed)), groups=2).loss)
        optimizer.step()
        optimizer.zero_grad()
    save_trained(tuning, module, folder, "models/tiny")
    return packed_logits(module.eval())


def answered(base: Path, tuning: Tuning, learning_rate: float, noise: float = 0.0) -> tuple[int, int]:
    """How many of 24 prompts of random tokens have their answer, one of four tokens, as the most likely one: before 80 steps on them, and after."""
    module = built(base, None, tuning=tuning).train()
    if noise:
        add_neftune(module, "model.embed_tokens", noise)
    random = torch.Generator().manual_seed(0)
    prompts = [PackedDocument([*torch.randint(14, VOCABULARY, (11,), generator=random).tolist(), 10 + n % 4], [0] * 11 + [1], 0) for n in range(24)]
    packed, optimizer = collate(prompts), torch.optim.AdamW(trainable(module), lr=learning_rate)
    right = []
    for _ in range(80):
        sums = packed_loss(module, packed, groups=1)
        torch.autograd.backward(sums.loss / len(prompts))
        optimizer.step()
        optimizer.zero_grad()
        right.append(int(sums.correct))
    return right[0], right[-1]
