"""RunPlan's part on what is trained, and how the base is kept meanwhile."""

from __future__ import annotations

from typing import Literal

from medfinetune_api.base import Contract
from medfinetune_api.choices import Method, Placement, Quantization
from medfinetune_api.scalars import AdapterScale, Alpha, BottleneckSize, Decay, Rank, RateRatio, RelativePath, Sha256, TargetModules, VirtualTokens


class LoraPlan(Contract):
    """The low-rank adapter: W = W_frozen + (alpha / rank) A B^T."""

    rank: Rank
    """Rank of the adapter matrices."""
    alpha: Alpha
    """Scale of the adapter, divided by the rank."""
    dropout: Decay
    """Share of the adapter's inputs dropped in training, 0 to below 1."""
    target_modules: Literal["all-linear"] | TargetModules
    """Linear layers that get an adapter: names, or each but the head."""
    use_rslora: bool
    """Whether alpha is divided by the square root of the rank."""
    use_dora: bool
    """Whether magnitudes are trained apart from directions."""
    loraplus_lr_ratio: RateRatio
    """Learning rate of B as a multiple of A's."""


class PrefixPlan(Contract):
    """Trained keys and values before every document, in each layer."""

    num_virtual_tokens: VirtualTokens
    """Length of the prefix."""


class BottleneckPlan(Contract):
    """A network down to `size` and up again, at both sublayers of each decoder layer."""

    size: BottleneckSize
    """Width of the bottleneck."""
    placement: Placement
    """On the sublayer's output, or beside the sublayer."""
    scale: AdapterScale
    """Factor of what the adapter adds."""
    dropout: Decay
    """Share of the bottleneck's activations dropped in training."""


class InitialAdapterPlan(Contract):
    """The adapter that training starts from."""

    path: RelativePath
    """Folder relative to `mounts.models`."""
    sha256: Sha256 | None = None
    """Hash that its weights file must have; None checks none."""


class TuningPlan(Contract):
    """What is trained, and how the base is kept meanwhile. Of the three shapes, exactly the method's own is set; none under Full."""

    method: Method
    """What is trained."""
    quantization: Quantization
    """How the base is kept."""
    lora: LoraPlan | None = None
    """The low-rank adapter, under QLoRA and LoRA."""
    prefix: PrefixPlan | None = None
    """The prefix, under PrefixTuning."""
    bottleneck: BottleneckPlan | None = None
    """The bottleneck adapter, under Bottleneck."""
    initial_adapter: InitialAdapterPlan | None = None
    """Where training starts; None starts with a new adapter."""
