"""ModelShape: every parameter of a base by its shape, from config.json alone. What the file leaves out has transformers' defaults, as when it is loaded.

A decoder layer of each architecture on the list is the same in outline: four attention projections, a gated feed-forward network of three, two norms (Gemma 3:
four), norms of query and key in some.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfinetune_api.errors import InvalidModel

from medfinetune_trainer.memory.vision import vision_parameters
from medfinetune_trainer.model.architectures import ATTENTION, FEED_FORWARD, LINEARS, Architecture, config_of

Config = Mapping[str, Any]
_LARGE = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}
_QWEN = {**_LARGE, "vocab_size": 151936, "intermediate_size": 22016, "num_key_value_heads": 32}
_GEMMA = {"vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "tie_word_embeddings": True}
_DEFAULTS: Mapping[str, Config] = {
    "gemma3_text": {**_GEMMA, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256},
    "llama": {**_LARGE, "vocab_size": 32000, "intermediate_size": 11008},
    "qwen2": _QWEN,
    "qwen3": {**_QWEN, "head_dim": 128},
}
"""transformers' own, of fields that shape parameters; a field of neither is absent."""

_MOST = {"num_hidden_layers": 1024, "num_attention_heads": 1024, "num_key_value_heads": 1024, "head_dim": 1 << 16, "vocab_size": 1 << 24}
"""Beyond any model: Llama 3.1 405B has 126 layers and 128 heads, no published vocabulary ten million tokens."""
_WIDEST = 1 << 20
"""Of hidden states and inner layers; Llama 3.1 405B has 16,384 and 53,248."""


@dataclass(frozen=True)
class Linear:
    """One linear layer."""

    inputs: int
    outputs: int
    bias: bool

    @property
    def weights(self) -> int:
        """Elements of its matrix."""
        return self.inputs * self.outputs


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a language model, and how many parameters stand beside it."""

    gemma: bool
    """Whether norms and rotary embeddings are Gemma 3's: four norms a layer, computed in fp32 to the end; two sets of rotary angles."""
    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    head_size: int
    vocabulary: int
    tied: bool
    """Whether embedding and head are one matrix."""
    head_norms: bool
    """Whether query and key have norms."""
    biased: frozenset[str]
    """Linear layers with a bias."""
    others: int
    """Parameters of other modalities: vision tower and projector."""

    @property
    def queries(self) -> int:
        """Width of all query heads."""
        return self.heads * self.head_size

    @property
    def keys(self) -> int:
        """Width of all key heads, and of all value heads."""
        return self.key_value_heads * self.head_size

    @property
    def linears(self) -> Mapping[str, Linear]:
        """The linear layers of one decoder layer, by name."""
        key, half = (self.hidden, self.keys), (self.hidden, self.intermediate)
        attention = {"q_proj": (self.hidden, self.queries), "k_proj": key, "v_proj": key, "o_proj": (self.queries, self.hidden)}
        widths = attention | {"gate_proj": half, "up_proj": half, "down_proj": (self.intermediate, self.hidden)}
        return {name: Linear(*widths[name], bias=name in self.biased) for name in LINEARS}

    @property
    def norms(self) -> int:
        """Norms of the hidden states in one decoder layer."""
        return 4 if self.gemma else 2

    @property
    def layer_matrices(self) -> int:
        """Elements of one layer's matrices: what NF4 quantises."""
        return sum(linear.weights for linear in self.linears.values())

    @property
    def layer_vectors(self) -> int:
        """Elements of one layer's norms and biases."""
        biases = sum(linear.outputs for linear in self.linears.values() if linear.bias)
        return self.norms * self.hidden + (2 * self.head_size if self.head_norms else 0) + biases

    @property
    def ends(self) -> int:
        """Elements of embedding, last norm and head."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2) + self.hidden

    @property
    def parameters(self) -> int:
        """All of them; a tied matrix counts once."""
        return self.layers * (self.layer_matrices + self.layer_vectors) + self.ends + self.others


def base_shape(folder: Path) -> ModelShape:
    """The shape of the base in `folder`, whose weights are not looked for. Raises InvalidModel where its config.json cannot be used."""
    architecture, config = config_of(folder)
    return shape_of(config, architecture, f"{folder}/config.json")


def shape_of(config: Config, architecture: Architecture, where: str) -> ModelShape:
    """The shape that `config` describes.

    Args:
        config: content of config.json.
        architecture: the one that it names.
        where: config.json's path, for the message.

    Raises:
        InvalidModel: a size is no positive whole number, or larger than any model's.
    """
    kind = "gemma3_text" if architecture.text_config else architecture.model_type
    written = config.get(architecture.text_config) if architecture.text_config else config
    fields = {**_DEFAULTS[kind], **(written if isinstance(written, Mapping) else {})}

    def size(name: str, default: int | None = None) -> int:
        value = fields.get(name) if fields.get(name) is not None else default
        most = _MOST.get(name, _WIDEST)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
            found = f"{name} {value if isinstance(value, int) else type(value).__name__}"[:60]
            remedy = "Copy config.json again: it is published with the weights."
            raise InvalidModel(where, found=found, expected=f"a whole number from 1 to {most}", remedy=remedy)
        return value

    heads, hidden = size("num_attention_heads"), size("hidden_size")
    return ModelShape(
        gemma=kind == "gemma3_text",
        hidden=hidden,
        intermediate=size("intermediate_size"),
        layers=size("num_hidden_layers"),
        heads=heads,
        key_value_heads=size("num_key_value_heads", heads),
        head_size=size("head_dim", max(1, hidden // heads)),
        vocabulary=size("vocab_size"),
        tied=bool(config.get("tie_word_embeddings", fields.get("tie_word_embeddings", False))),
        head_norms=kind in ("gemma3_text", "qwen3"),
        biased=_biased(kind, fields),
        others=vision_parameters(config.get("vision_config"), hidden, where) if architecture.other_modalities else 0,
    )


def _biased(kind: str, fields: Config) -> frozenset[str]:
    if kind == "qwen2":
        return frozenset(ATTENTION[:3])
    attention = ATTENTION if fields.get("attention_bias") else ()
    return frozenset((*attention, *(FEED_FORWARD if kind == "llama" and fields.get("mlp_bias") else ())))
