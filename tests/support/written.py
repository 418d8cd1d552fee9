"""Answers that tiny models write, and what they should have written: one token after another, each from a whole forward pass without a cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from medfinetune_api.choices import ChatTemplate, Sharding
from medfinetune_trainer.data.records import Record
from medfinetune_trainer.data.template import Renderer, load_tokenizer
from medfinetune_trainer.evaluation.generation import WritingModel
from medfinetune_trainer.model.build import build
from medfinetune_trainer.model.tuned import Tuning
from support.models import CPU
from torch import nn

NEW_TOKENS = 10


def loaded(base: Path, tuning: Tuning | None, sharding: Sharding | None = None) -> nn.Module:
    """As the stage evaluate builds it."""
    return build(base, tuning, torch.float32, CPU, sharding, packed=False).eval()


def writing(base: Path, model: nn.Module, batch_size: int = 3) -> WritingModel:
    return WritingModel(model, Renderer(load_tokenizer(base), ChatTemplate.TOKENIZER), batch_size, seed=1)


def requests(lm: WritingModel, records: list[Record], *arguments: dict[str, Any]) -> list[Instance]:
    """Each record's prompt with each of the generation arguments."""
    prompts = [(record.where, lm.renderer.prompt_text(record.messages[:-1])) for record in records]
    return [Instance("generate_until", {"where": where}, (prompt, one), 0) for where, prompt in prompts for one in arguments]


def token_by_token(lm: WritingModel, prompt: str, most: int) -> str:
    """The greedy answer to a rendered prompt."""
    ids, written = lm.tok_encode(prompt), list[int]()
    while len(written) < most and not (written and written[-1] in lm.ends):
        with torch.no_grad():
            written.append(int(lm.model(input_ids=torch.tensor([ids + written])).logits[0, -1].argmax()))
    return lm.tok_decode(written).strip()


def written_by_rank(_: int, base: Path, tuning: Tuning, records: list[Record], arguments: tuple[dict[str, Any], ...]) -> tuple[list[str], list[str]]:
    """What one rank of a gang that shards everything writes: tuned, and as the base where the method has one."""
    model = loaded(base, tuning, Sharding.FULL)
    lm = writing(base, model)
    asked = requests(lm, records, *arguments)
    tuned = lm.generate_until(asked)
    disabled = getattr(tuning, "disabled", None)
    if disabled is None:
        return tuned, []
    with disabled(model):
        return tuned, lm.generate_until(asked)
