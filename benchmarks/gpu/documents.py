"""Packed documents do not see each other: one attention call and whole models, through the kernel that the device has.

Whole models have the first layers of Gemma 3 4B (sliding windows, then a layer without one) and Llama 3 8B, random weights in bf16, and run as training runs
them. The reference is transformers' own attention, eager and in fp32, on each document alone. Compared are the logits of every position that predicts
something, by the norm of their difference over the norm of the reference: the largest of all positions. Beside it stand the error of 16 bits alone (each
document by itself through the same kernel) and what a leak would make (the same batch without its boundaries), which must be seen in every document.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from medfinetune_trainer.data.batch import PackedBatch, PackedDocument, collate
from medfinetune_trainer.memory.published import GEMMA_3_4B_TEXT, LLAMA_3_8B
from medfinetune_trainer.model.attention import packed_attention
from medfinetune_trainer.model.build import build
from medfinetune_trainer.model.loss import loss_logits
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from benchmarks.gpu.bases import first_layers

LENGTHS = (700, 3, 129, 1, 1215)
SHORT = (70, 3, 29, 1, 81)
"""On a processor."""
LAYERS = 6
VOCABULARY = 4096
"""Of the bases: attention does not know it, and logits of all positions fit."""
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "Gemma 3 4B": (GEMMA_3_4B_TEXT, {}),
    "Gemma 3 4B, window of 4 tokens": (GEMMA_3_4B_TEXT, {"sliding_window": 4}),
    "Llama 3 8B": (LLAMA_3_8B, {}),
}
"""The published window leaves most documents whole; in a short one a token too many or too few is a quarter of what is attended to."""
TOLERANCE = 0.05
"""Of whole models in bf16, relative."""


def attention(device: torch.device) -> dict[str, Any]:
    """Largest difference between the kernel in 16 bits and the document loop in fp32, with and without a window shorter than the documents."""
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, sum(LENGTHS), 64, generator=generator).to(device) for heads in (8, 4, 4))
    bounds = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0).tolist()], dtype=torch.int32, device=device)
    module = torch.nn.Identity()

    def run(dtype: torch.dtype, window: int | None) -> Tensor:
        states = (tensor.to(dtype) for tensor in (query, key, value))
        output, _ = packed_attention(module, *states, None, sliding_window=window, cu_seqlens=bounds, max_seqlen=max(LENGTHS))
        return output.float()

    differences = {str(window): float((run(torch.bfloat16, window) - run(torch.float32, window)).abs().max()) for window in (None, 128)}
    return {"max_difference_by_window": differences, "passed": max(differences.values()) < 0.05}


def documents(device: torch.device) -> dict[str, Any]:
    """By model: relative difference of packed logits, of unpacked ones in 16 bits, and of a leak from the reference."""
    with tempfile.TemporaryDirectory() as name:
        found = {
            title: _compared(first_layers(Path(name) / str(number), model, LAYERS, device, vocab_size=VOCABULARY, **fields), device)
            for number, (title, (model, fields)) in enumerate(MODELS.items())
        }
    met = all(each["packed"] <= TOLERANCE <= each["leak"] / 2 for each in found.values())
    return {"tolerance": TOLERANCE, "models": found, "passed": met}


@torch.no_grad()
def _compared(base: Path, device: torch.device) -> dict[str, float]:
    texts = [_document(length) for length in (SHORT if device.type == "cpu" else LENGTHS)]
    model, batch = build(base, None, torch.bfloat16, device, None, packed=True), collate(texts).to(device)
    reference = _reference(base, texts, device)
    alone = torch.cat([loss_logits(model, collate([each]).to(device)) for each in texts])
    packed, leaking = loss_logits(model, batch), loss_logits(model, _without_bounds(batch))
    leaks = _differences(leaking, reference).split([len(each.input_ids) - 1 for each in texts])[1:]  # nothing stands before the first
    return {
        "packed": float(_differences(packed, reference).max()),
        "alone": float(_differences(alone, reference).max()),
        "leak": min(float(each.max()) for each in leaks if len(each)),
    }


def _document(length: int) -> PackedDocument:
    drawn = torch.randint(VOCABULARY, (length,), generator=torch.Generator().manual_seed(length)).tolist()
    return PackedDocument(drawn, [1] * length, 0)


def _reference(base: Path, texts: Sequence[PackedDocument], device: torch.device) -> Tensor:
    """(P, vocabulary) fp32: every document by itself; its last position predicts nothing."""
    model: nn.Module = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager").to(device).eval()
    return torch.cat([model(input_ids=torch.tensor([each.input_ids], device=device), use_cache=False).logits[0, :-1] for each in texts])


def _without_bounds(batch: PackedBatch) -> PackedBatch:
    return replace(batch, cu_seqlens=batch.cu_seqlens[[0, -1]], max_seqlen=batch.tokens)


def _differences(found: Tensor, expected: Tensor) -> Tensor:
    """(P,) fp32, relative, by position."""
    return (found.float() - expected).norm(dim=-1) / expected.norm(dim=-1)
