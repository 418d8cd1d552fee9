"""What a manifest says about the method: what is trained, where it starts, and how the base is kept meanwhile.

A field that a preset may decide has no default here: absent means the preset's value, or the documented one (`presets.py`).
"""

from __future__ import annotations

from medfinetune_api import rules_training as rules
from medfinetune_api.base import Contract
from medfinetune_api.choices import Method, Placement, Quantization
from medfinetune_api.ruled import Ruled
from medfinetune_api.scalars import AdapterScale, Alpha, BottleneckSize, Decay, Rank, RateRatio, RelativePath, Sha256, TargetModules, VirtualTokens


class LoraSpec(Ruled):
    """The low-rank adapter: W = W_frozen + (alpha / rank) A B^T."""

    rules = (rules.ALL_LINEAR_ALONE, rules.TARGETS_UNIQUE)

    rank: Rank | None = None
    """Rank of the adapter matrices, 1 to 1024. Default: the preset's, or 16."""
    alpha: Alpha | None = None
    """Scale of the adapter, divided by the rank; above 0, at most 4096. Default: the preset's, or 64."""
    dropout: Decay | None = None
    """Share of the adapter's inputs dropped in training, 0 to below 1. Default: the preset's, or 0.05."""
    target_modules: TargetModules | None = None
    """Linear layers that get an adapter, by name (q_proj), or [all-linear] for each but the head; 1 to 64. Default: the preset's, or [all-linear]."""
    use_rslora: bool | None = None
    """Whether alpha is divided by the square root of the rank (rsLoRA), which keeps large ranks stable. Default: the preset's, or false."""
    use_dora: bool | None = None
    """Whether each weight's magnitude is trained apart from its direction (DoRA); slower. Default: the preset's, or false."""
    loraplus_lr_ratio: RateRatio | None = None
    """Learning rate of B as a multiple of A's (LoRA+), 1 to 1024; 16 is the publication's. Default: the preset's, or 1."""


class PrefixSpec(Contract):
    """Trained keys and values before every document, in each layer (prefix tuning)."""

    num_virtual_tokens: VirtualTokens = 20
    """Length of the prefix, 1 to 4096; it is counted on top of maxLength. Default 20."""


class BottleneckSpec(Contract):
    """A small network down to `size`, a ReLU, and up again, at the attention and the feed-forward sublayer of each decoder layer."""

    size: BottleneckSize = 64
    """Width of the bottleneck, 1 to 8192. Default 64."""
    placement: Placement = Placement.SEQUENTIAL
    """Sequential (on the sublayer's output) or Parallel (beside the sublayer, on its input). Default Sequential."""
    scale: AdapterScale = 1
    """Factor of what the adapter adds; above 0, at most 1000; 4 is usual where it is parallel. Default 1."""
    dropout: Decay = 0
    """Share of the bottleneck's activations dropped in training, 0 to below 1. Default 0."""


class InitialAdapterSpec(Contract):
    """The adapter that training starts from, in place of a new one."""

    path: RelativePath
    """Folder below the model volume's root, as an earlier run of the same method, shape and base left it in `adapter/`."""
    sha256: Sha256 | None = None
    """SHA-256 that its weights file must have. A mismatch is refused. Default: not checked."""


class TuningSpec(Ruled):
    """What is trained, and how the base is kept meanwhile."""

    rules = (
        rules.LORA_WITH_METHOD,
        rules.PREFIX_WITH_METHOD,
        rules.BOTTLENECK_WITH_METHOD,
        rules.QUANTIZATION_WITH_METHOD,
        rules.INITIAL_ADAPTER_WITH_METHOD,
    )

    method: Method | None = None
    """QLoRA (low-rank adapter on a 4-bit base), LoRA (on a 16-bit base), Full (every weight of the language model), PrefixTuning or Bottleneck (adapters on a
    base of `quantization`). Default: the preset's, or QLoRA."""
    quantization: Quantization | None = None
    """How the base is kept under PrefixTuning and Bottleneck: NF4, or None for 16 bits. Default NF4."""
    lora: LoraSpec | None = None
    """The low-rank adapter; with method QLoRA or LoRA only."""
    prefix: PrefixSpec | None = None
    """The prefix; with method PrefixTuning only."""
    bottleneck: BottleneckSpec | None = None
    """The bottleneck adapter; with method Bottleneck only."""
    initial_adapter: InitialAdapterSpec | None = None
    """Start from an earlier adapter; not with method Full. Default: a new one."""
