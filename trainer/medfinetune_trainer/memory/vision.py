"""The parameters that stand beside a language model: SigLIP's vision tower and Gemma 3's projector. Text never runs them; they are loaded and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medfinetune_api.errors import InvalidModel

_DEFAULTS = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_channels": 3, "image_size": 224, "patch_size": 16}
"""transformers' own of SiglipVisionConfig."""


def vision_parameters(config: Any, text_hidden: int, where: str) -> int:
    """How many parameters tower and projector have.

    Args:
        config: `vision_config` of config.json; what it leaves out has transformers' defaults.
        text_hidden: hidden size of the language model, which the projector leads to.
        where: config.json's path, for the message.

    Raises:
        InvalidModel: a size is no positive whole number.
    """
    fields: dict[str, Any] = {**_DEFAULTS, **(config if isinstance(config, Mapping) else {})}
    for name in _DEFAULTS:
        if not isinstance(fields[name], int) or isinstance(fields[name], bool) or not 0 < fields[name] < 1 << 32:
            found = f"vision_config.{name} of type {type(fields[name]).__name__}"
            raise InvalidModel(where, found=found, expected="a positive whole number", remedy="Copy config.json again: it is published with the weights.")
    hidden, intermediate, layers, channels, image, patch = (int(fields[name]) for name in _DEFAULTS)
    norm, network = 2 * hidden, 2 * hidden * intermediate + intermediate + hidden
    attention = 4 * (hidden * hidden + hidden)
    embeddings = channels * patch * patch * hidden + hidden + (image // patch) ** 2 * hidden
    pooling = hidden + attention + norm + network if fields.get("vision_use_head", True) else 0
    return embeddings + layers * (attention + network + 2 * norm) + norm + pooling + hidden * text_hidden + hidden
