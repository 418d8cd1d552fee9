"""NEFTune (Jain et al. 2023, arXiv 2310.05914, algorithm 1): uniform noise of scale alpha / sqrt(L d) on the embeddings, in training alone.

L is the length of a document and d the model's width. transformers' hook takes L from the tensor it is handed, which in a packed row is the length of the row:
its noise would shrink as packing improves. So the same hook is handed one document after the other; their boundaries come with the model's arguments.

The noise is drawn from the device's global random state, which every micro-batch seeds by (seed, step, micro-batch): the same whatever the world size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.neftune import neftune_post_forward_hook


def add_neftune(module: nn.Module, embedding: str, alpha: float) -> None:
    """Let the token embedding add the noise in training mode.

    Args:
        module: as it is called, sharded or not; with `cu_seqlens` where documents are packed, else a row is a document.
        embedding: dotted name of the embedding, below whatever wraps the model.
        alpha: scale of the noise.
    """
    lengths: list[int] = []
    embeds = next(each for name, each in module.named_modules() if f".{name}".endswith(f".{embedding}"))
    embeds.neftune_noise_alpha = alpha  # where transformers' hook reads it

    def remember(_module: nn.Module, _args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        bounds = kwargs.get("cu_seqlens")
        lengths[:] = [] if bounds is None else bounds.diff().tolist()

    def noise(each: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        documents = torch.split(output, lengths, dim=1) if lengths else [output]
        return torch.cat([neftune_post_forward_hook(each, args, document) for document in documents], dim=1) if each.training else output

    module.register_forward_pre_hook(remember, with_kwargs=True)
    embeds.register_forward_hook(noise)
