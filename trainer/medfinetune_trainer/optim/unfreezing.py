"""Gradual unfreezing (Howard and Ruder 2018, arXiv 1801.06146, section 3.3): the last decoder layers train first, the layers before them join later.

What lies above the layers or beside them (norm, an untied head) trains from the beginning, with the last layer; the embedding, below them, joins when the
layers are used up, as one more layer would. Which parameters train is a function of the step alone, so that a checkpoint need not hold it.

A parameter that does not train yet still has its gradient computed and summed over the ranks, and loses it before the norm is taken: FSDP shards, and DDP
buckets, what required gradients when the model was spread, so the collectives stay as they are on every rank, at the cost of a backward pass through all
layers. Without a gradient AdamW leaves weight and moments alone, and decays nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medfinetune_api.plan_training import GradualUnfreezingPlan
from torch import nn

from medfinetune_trainer.optim.groups import Depths


@dataclass(frozen=True)
class Unfreezing:
    """Which trained parameters wait at which step."""

    plan: GradualUnfreezingPlan
    by_depth: Sequence[tuple[int, nn.Parameter]]

    @classmethod
    def of(cls, plan: GradualUnfreezingPlan, module: nn.Module, depths: Depths) -> Unfreezing:
        """Of what is trained in `module`."""
        return cls(plan, [(depths.depth(name), parameter) for name, parameter in module.named_parameters() if parameter.requires_grad])

    def frozen(self, step: int) -> list[nn.Parameter]:
        """What does not train in optimizer step `step`, counted from 1."""
        layers = self.plan.layers * (1 + (step - 1) // self.plan.every_steps)
        return [parameter for depth, parameter in self.by_depth if depth >= layers]
