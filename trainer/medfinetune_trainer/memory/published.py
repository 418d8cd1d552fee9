"""Published shapes: what the projection to other sizes is computed for (Yoo et al. 2026, Table 8), as their config.json files have them.

Only fields that shape parameters are kept; what the published files leave to transformers' defaults is left out here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_GEMMA_3_4B = {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34}
_SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 896,
    "patch_size": 14,
    "vision_use_head": False,
}
_LLAMA_3 = {"model_type": "llama", "vocab_size": 128256, "num_key_value_heads": 8, "tie_word_embeddings": False}
_LLAMA_2 = {"model_type": "llama", "vocab_size": 32000, "tie_word_embeddings": False}

GEMMA_3_4B_TEXT = "Gemma 3 4B, text"
LLAMA_3_8B = "Llama 3 8B"
MEDGEMMA_4B, LLAMA_2_7B, LLAMA_2_13B, LLAMA_3_70B = "MedGemma 4B", "Llama 2 7B", "Llama 2 13B", "Llama 3.3 70B"

PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    GEMMA_3_4B_TEXT: _GEMMA_3_4B,
    MEDGEMMA_4B: {"model_type": "gemma3", "text_config": _GEMMA_3_4B, "vision_config": _SIGLIP},
    LLAMA_2_7B: {**_LLAMA_2, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32},
    LLAMA_3_8B: {**_LLAMA_3, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
    LLAMA_2_13B: {**_LLAMA_2, "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40, "num_attention_heads": 40, "num_key_value_heads": 40},
    LLAMA_3_70B: {**_LLAMA_3, "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64},
}
"""config.json by the model's name."""

PROJECTED = (MEDGEMMA_4B, LLAMA_2_7B, LLAMA_2_13B, LLAMA_3_70B)
"""4B, 7B, 13B and 70B."""
