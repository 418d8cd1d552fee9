"""Packed attention that cannot leak: each document of a packed row attends to itself alone.

transformers separates packed documents by guessing from position ids, only where no mask is given and the cache is off, and mixes them in silence
otherwise. Here the boundaries are passed explicitly, from `packed_loss` through the model's keyword arguments to every layer; a layer that gets none
raises instead of attending across.

On CUDA in 16 bits one `varlen_attn` call computes all documents; elsewhere a loop of `scaled_dot_product_attention` over documents does, exact and
cheaper than a dense mask. Evaluation does not pack: it keeps the attention that the base was loaded with.

Prefix tuning hands keys and values of P virtual tokens to every layer as a cache of earlier tokens, once for the whole batch. Each document attends to them as
if it stood alone behind them, so that the documents of a micro-batch need no padding.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from medfinetune_trainer.model.architectures import Architecture

NAME = "medfinetune_packed"


def use_packed_attention(model: PreTrainedModel, architecture: Architecture) -> None:
    """Make the language model of `model` attend within documents; every forward must then pass `cu_seqlens` and `max_seqlen`."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, packed_attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, _no_mask)
    model.set_attn_implementation({architecture.text_config: NAME} if architecture.text_config else NAME)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    cu_seqlens: Tensor | None = None,
    max_seqlen: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each document, in the signature of transformers' attention functions.

    Args:
        module: the attention layer that calls.
        query: (1, H, T, D); key, value: (1, H_kv, P + T, D), H a multiple of H_kv, the prefix first; P is 0 without one.
        attention_mask: must be None; boundaries take its place.
        scaling: of the scores; 1/sqrt(D) where None.
        dropout: must be 0; `architecture_of` refuses other bases.
        sliding_window: tokens a position sees, itself included; None for all before it.
        cu_seqlens: (documents + 1,) int32, cumulative lengths from 0 to T.
        max_seqlen: the longest document's tokens.

    Returns:
        (1, T, H, D), and None for the weights.

    Raises:
        RuntimeError: boundaries are missing, or a mask or dropout is given.
    """
    if cu_seqlens is None or max_seqlen is None or attention_mask is not None or dropout:
        raise RuntimeError(f"{type(module).__name__}: packed attention needs cu_seqlens and max_seqlen, and takes neither mask nor dropout")
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        return _varlen(query, key, value, cu_seqlens, max_seqlen, scaling, sliding_window), None
    return _by_document(query, key, value, cu_seqlens, scaling, sliding_window), None


def _varlen(query: Tensor, key: Tensor, value: Tensor, cu_seqlens: Tensor, max_seqlen: int, scaling: float | None, window: int | None) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (states[0].transpose(0, 1).contiguous() for states in (query, key, value))
    left, prefix, cu_keys = -1 if window is None else window - 1, key.shape[2] - query.shape[2], cu_seqlens
    if prefix:
        k, v = (states[_behind_prefix(cu_seqlens, prefix, len(q))] for states in (k, v))
        cu_keys = cu_seqlens + prefix * torch.arange(len(cu_seqlens), dtype=torch.int32, device=cu_seqlens.device)
    output = varlen_attn(q, k, v, cu_seqlens, cu_keys, max_seqlen, max_seqlen + prefix, scale=scaling, window_size=(left, 0))
    assert isinstance(output, Tensor)
    return output[None]


def _behind_prefix(cu_seqlens: Tensor, prefix: int, tokens: int) -> Tensor:
    """(documents x prefix + tokens,) int64: which keys each document attends to, document after document, in terms of the prefix once and all tokens."""
    documents = torch.arange(len(cu_seqlens) - 1, device=cu_seqlens.device)
    owners = torch.repeat_interleave(documents, cu_seqlens.diff(), output_size=tokens)
    order = torch.cat([documents.repeat_interleave(prefix), owners]).argsort(stable=True)
    shared = torch.arange(prefix, device=cu_seqlens.device).repeat(len(documents))
    return torch.cat([shared, prefix + torch.arange(tokens, device=cu_seqlens.device)])[order]


def _by_document(query: Tensor, key: Tensor, value: Tensor, cu_seqlens: Tensor, scaling: float | None, window: int | None) -> Tensor:
    outputs, prefix = [], key.shape[2] - query.shape[2]
    for start, end in pairwise(cu_seqlens.tolist()):
        length = end - start
        plain = prefix == 0 and (window is None or length <= window)
        mask = None if plain else _mask(length, prefix, window or prefix + length, query.device)
        q, k, v = query[:, :, start:end], _of_document(key, prefix, start, end), _of_document(value, prefix, start, end)
        outputs.append(functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=plain, scale=scaling))
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous()


def _of_document(states: Tensor, prefix: int, start: int, end: int) -> Tensor:
    """The keys or values that a document attends to: the prefix's, then its own."""
    own = states[:, :, prefix + start : prefix + end]
    return torch.cat([states[:, :, :prefix], own], dim=2) if prefix else own


def _mask(length: int, prefix: int, window: int, device: torch.device) -> Tensor:
    """(length, prefix + length) bool: True where a query sees a key, at most `window` - 1 tokens back, the prefix counted."""
    return torch.ones(length, prefix + length, dtype=torch.bool, device=device).tril(prefix).triu(prefix + 1 - window)


def _no_mask(*_: Any, **__: Any) -> None:
    """Tells transformers to build no mask."""
