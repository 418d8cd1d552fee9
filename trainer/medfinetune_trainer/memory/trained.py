"""What each method trains: the elements of every tensor, by where it stands. Masters are fp32.

- QLoRA and LoRA: A (rank, inputs) and B (outputs, rank) of every target; DoRA a magnitude for each output besides.
- Full: the language model itself. Bottleneck: down and up, with biases, at two sublayers of a layer. PrefixTuning: keys and values of all layers in one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medfinetune_api.choices import Method
from medfinetune_api.plan_tuning import LoraPlan, TuningPlan

from medfinetune_trainer.memory.shape import ModelShape


@dataclass(frozen=True)
class Trained:
    """Elements of the trained tensors."""

    layer: Sequence[int] = ()
    """Of each tensor in one decoder layer."""
    ends: Sequence[int] = ()
    """Of each in embedding, last norm and head."""
    outside: Sequence[int] = ()
    """Of each that belongs to no part of the base."""

    def tensors(self, layers: int) -> list[int]:
        """All of them."""
        return [*self.layer] * layers + [*self.ends, *self.outside]

    def total(self, layers: int) -> int:
        """Their sum."""
        return layers * sum(self.layer) + sum(self.ends) + sum(self.outside)


def trained(shape: ModelShape, tuning: TuningPlan) -> Trained:
    """What `tuning` trains of a base of `shape`, or beside it."""
    if tuning.lora is not None:
        return Trained(layer=_lora(shape, tuning.lora))
    if tuning.prefix is not None:
        return Trained(outside=[tuning.prefix.num_virtual_tokens * shape.layers * 2 * shape.keys])
    if tuning.bottleneck is not None:
        size = tuning.bottleneck.size
        return Trained(layer=2 * [size * shape.hidden, size, shape.hidden * size, shape.hidden])
    assert tuning.method is Method.FULL
    return _full(shape)


def targets(shape: ModelShape, lora: LoraPlan) -> frozenset[str]:
    """The linear layers of a decoder layer that get an adapter; names that it does not have are refused where the model is built."""
    return frozenset(shape.linears) if lora.target_modules == "all-linear" else frozenset(lora.target_modules) & shape.linears.keys()


def _lora(shape: ModelShape, lora: LoraPlan) -> list[int]:
    sizes = []
    for name in sorted(targets(shape, lora)):
        linear = shape.linears[name]
        sizes += [lora.rank * linear.inputs, lora.rank * linear.outputs, *([linear.outputs] if lora.use_dora else [])]
    return sizes


def _full(shape: ModelShape) -> Trained:
    linears = shape.linears.values()
    biases = [linear.outputs for linear in linears if linear.bias]
    norms = shape.norms * [shape.hidden] + (2 * [shape.head_size] if shape.head_norms else [])
    matrices = [shape.vocabulary * shape.hidden] * (1 if shape.tied else 2)
    return Trained(layer=[*(linear.weights for linear in linears), *biases, *norms], ends=[*matrices, shape.hidden])
