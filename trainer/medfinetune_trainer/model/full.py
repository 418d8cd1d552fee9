"""Full fine-tuning: every weight of the language model is trained, as in Med42's comparison with LoRA (Christophe et al. 2024, arXiv 2404.14779).

Masters, gradients and optimizer states are fp32, 16 bytes a weight, which sharding Full spreads over the ranks; matrix products have the compute type. Weights
that the base ties stay tied; a vision tower and its projector stay frozen. What is trained is the base itself, so it leaves as a whole model in the base's own
layout and types (`successor.py`): each weight is gathered, written and let go, so that rank 0 holds one whole weight at a time beside its share.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from medfinetune_api.choices import Quantization
from torch import Tensor, nn
from transformers import PreTrainedModel

from medfinetune_trainer.model.architectures import Architecture
from medfinetune_trainer.model.successor import Successor
from medfinetune_trainer.model.weights import stored_weights


@dataclass(frozen=True)
class Full:
    """Every weight of the language model."""

    base: Path
    """The base's folder, whose layout the trained model has."""

    @property
    def quantization(self) -> Quantization:
        """None: what is trained is not quantised."""
        return Quantization.NONE

    def attach(self, base: PreTrainedModel, architecture: Architecture) -> PreTrainedModel:
        """The base itself, its language model as fp32 masters that require gradients."""
        for name in (architecture.decoder, architecture.head):
            for parameter in base.get_submodule(name).parameters():
                parameter.data = parameter.data.to(torch.float32)
                parameter.requires_grad_(True)
        return base

    def initialise(self, name: str, module: nn.Module) -> None:
        """Nothing is new: every weight is read from the base."""

    def save(self, module: nn.Module, weights: Iterable[tuple[str, Tensor]], folder: Path) -> None:
        """Write a whole model that loads as the base does. Called on rank 0 alone.

        Args:
            module: what `attach` returned; sharded by now.
            weights: every trained parameter by its name in `module`, whole and fp32; each is written before the next is taken.
            folder: exists; best a `new_folder` of artifacts, so that it appears whole.

        Raises Diverged where a weight is NaN, or too large for the base's type.
        """
        assert isinstance(module, PreTrainedModel)
        places, successor, names = stored_weights(self.base, module), Successor(self.base, folder), _names(module)
        for name, weight in weights:
            for each in names[name]:
                if each in places:
                    successor.write(places[each], weight)
        successor.finish()


def _names(model: nn.Module) -> dict[str, list[str]]:
    """All names of each parameter, by its first: a tied one has several, and the base's files hold it under one of them or under each."""
    by_parameter: dict[nn.Parameter, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        by_parameter[parameter].append(name)
    return {names[0]: names for names in by_parameter.values()}
