"""Packed documents do not see each other: packed logits equal those of each document alone in plain transformers, in fp32 to 1e-5."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from medfinetune_api.choices import Quantization
from medfinetune_trainer.data.batch import collate
from medfinetune_trainer.model.architectures import architecture_of
from medfinetune_trainer.model.attention import packed_attention, use_packed_attention
from medfinetune_trainer.model.load import load_base
from support.models import CPU, documents, tiny
from torch import Tensor, nn

LENGTHS = (5, 20, 1, 9)
CASES = [
    ("gemma3", {"sliding_window": 8}),
    ("gemma3", {"sliding_window": 64}),
    ("gemma3-multimodal", {"sliding_window": 8}),
    ("llama", {}),
    ("qwen2", {}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}),
    ("qwen3", {}),
]


def plain(folder: Path) -> nn.Module:
    """The oracle: transformers alone, eager attention."""
    model: nn.Module = getattr(transformers, architecture_of(folder).class_name).from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    return model


@pytest.mark.parametrize(("kind", "config"), CASES)
@torch.no_grad()
def test_packed_logits_equal_separate_logits(tmp_path: Path, kind: Any, config: dict[str, Any]) -> None:
    folder = tiny(tmp_path / kind, kind, initializer_range=0.2, **config)
    architecture = architecture_of(folder)
    model = load_base(folder, architecture, Quantization.NONE, torch.float32, CPU)
    use_packed_attention(model, architecture)
    packed = collate(documents(LENGTHS))
    bounds = {"cu_seqlens": packed.cu_seqlens, "max_seqlen": packed.max_seqlen}
    together = model(input_ids=packed.input_ids, position_ids=packed.position_ids, **bounds).logits[0]
    oracle = plain(folder)
    apart = torch.cat([oracle(input_ids=torch.tensor([document.input_ids])).logits[0] for document in documents(LENGTHS)])
    assert apart.std() > 0.1
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)


def test_a_forward_without_boundaries_is_refused(tmp_path: Path) -> None:
    folder = tiny(tmp_path / "base", "gemma3-multimodal", sliding_window=8)
    architecture = architecture_of(folder)
    model = load_base(folder, architecture, Quantization.NONE, torch.float32, CPU)
    use_packed_attention(model, architecture)
    with pytest.raises(RuntimeError, match="cu_seqlens"):
        model(input_ids=torch.tensor([documents((12,))[0].input_ids]))


def dense(query: Tensor, key: Tensor, value: Tensor, bounds: list[int], scaling: float, window: int | None) -> Tensor:
    """softmax(QK^T) V with one boolean mask over the whole row."""
    tokens = query.shape[2]
    document = torch.cat([torch.full((end - start,), index) for index, (start, end) in enumerate(pairwise(bounds))])
    position = torch.arange(tokens)
    distance = position[:, None] - position[None, :]
    seen = (document[:, None] == document[None, :]) & (distance >= 0) & (distance < (window or tokens))
    groups = query.shape[1] // key.shape[1]
    scores = query @ key.repeat_interleave(groups, 1).transpose(2, 3) * scaling
    return (scores.masked_fill(~seen, -torch.inf).softmax(-1) @ value.repeat_interleave(groups, 1)).transpose(1, 2)


@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    kv_heads=st.sampled_from([1, 2]),
    groups=st.sampled_from([1, 3]),
    window=st.none() | st.integers(1, 14),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_equal_a_dense_mask(lengths: list[int], kv_heads: int, groups: int, window: int | None, seed: int) -> None:
    bounds = [0, *torch.tensor(lengths).cumsum(0).tolist()]
    generator = torch.Generator().manual_seed(seed)
    shapes = [(1, heads, bounds[-1], 8) for heads in (kv_heads * groups, kv_heads, kv_heads)]
    inputs = [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]
    weights = torch.randn(1, bounds[-1], kv_heads * groups, 8, generator=generator)
    cu_seqlens = torch.tensor(bounds, dtype=torch.int32)
    found, _ = packed_attention(nn.Identity(), *inputs, None, 0.3, 0.0, window, cu_seqlens, max(lengths))
    expected = dense(*inputs, bounds, 0.3, window)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad((output * weights).sum(), inputs) for output in (found, expected)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)
