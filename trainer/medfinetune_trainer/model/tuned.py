"""What a method of tuning is: how it is attached to a base, what its weights start as, how they are saved and read, and how it is switched off.

One class a method, in a file of its own; `tuning_of` finds the plan's. `build` calls them in this order, and sharding knows nothing of them. All but `Full` are
adapters: weights of their own, which a base works without.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

from medfinetune_api.choices import Method, Quantization
from medfinetune_api.errors import InvalidManifest
from medfinetune_api.plan import RunPlan
from torch import Tensor, nn
from transformers import PreTrainedModel

from medfinetune_trainer.model.architectures import Architecture
from medfinetune_trainer.model.bottleneck_tuning import Bottlenecks
from medfinetune_trainer.model.folder import model_folder
from medfinetune_trainer.model.full import Full
from medfinetune_trainer.model.lora import LowRank
from medfinetune_trainer.model.prefix import Prefix


class Tuning(Protocol):
    """One method: what `build` needs of it."""

    @property
    def quantization(self) -> Quantization:
        """How the base's linear layers are kept."""

    def attach(self, base: PreTrainedModel, architecture: Architecture) -> nn.Module:
        """Put what is trained on a base whose parameters lie on the meta device, and let it alone require gradients.

        New parameters lie on the meta device too, in fp32. A base parameter that is trained itself is given the type of its master here: it is read into it.
        Modules of the base may be wrapped, never replaced by others. Returns what is trained: a PeftModel, or the base. Raises InvalidManifest.
        """

    def initialise(self, name: str, module: nn.Module) -> None:
        """Give the new parameters of `module` their first values; its base weights are real and whole, and so are those of all that stands in its group.

        Called for each module of a group that is sharded together, before it is sharded. New parameters are real, on the device, and NaN until they are given
        a value; random ones are drawn by `keyed`.

        Args:
            name: of `module` in what `attach` returned; a parameter's name is `name`, a dot, and its path in `module`.
            module: a decoder layer; embedding, norm or head; a module outside of those that owns new parameters.
        """


@runtime_checkable
class Adapter(Tuning, Protocol):
    """A method whose weights are its own, beside a base that stays as it is."""

    def save(self, module: nn.Module, state: Mapping[str, Tensor], folder: Path, base: str) -> None:
        """Write the trained weights in their final layout. Called on rank 0 alone.

        Args:
            module: what `attach` returned; sharded by now.
            state: every trained parameter, whole, fp32 and on the CPU, by its name in `module`.
            folder: exists; best a `new_folder` of artifacts, so that it appears whole.
            base: the manifest's model path, for the files to name: the mount of one machine would mislead on the next.
        """

    def load(self, module: nn.Module, folder: Path) -> Mapping[str, Tensor]:
        """Trained weights that `save` wrote, on the CPU, by their names in `module`, which lies on the meta device.

        Raises OutputConflict where they cannot be read, or are of another method or shape.
        """

    def disabled(self, module: nn.Module) -> AbstractContextManager[None]:
        """While it lasts, `module` (sharded) answers as the untuned base. Every rank must enter it."""


def tuning_of(plan: RunPlan) -> Adapter | Full:
    """The plan's method. Raises InvalidManifest where this version does not know it."""
    tuning = plan.tuning
    if tuning.method is Method.FULL:
        return Full(model_folder(plan))
    if tuning.method in (Method.QLORA, Method.LORA) and tuning.lora is not None:
        return LowRank(tuning.lora, tuning.quantization, plan.training.seed)
    if tuning.prefix is not None:
        return Prefix(tuning.prefix, tuning.quantization, plan.training.seed)
    if tuning.bottleneck is not None:
        return Bottlenecks(tuning.bottleneck, tuning.quantization, plan.training.seed)
    expected = "QLoRA, LoRA, PrefixTuning or Bottleneck"
    raise InvalidManifest("spec.tuning.method", found=str(tuning.method), expected=expected, remedy="Choose one of these methods.")
