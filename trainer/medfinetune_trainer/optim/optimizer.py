"""AdamW (Loshchilov and Hutter 2019) over the trained parameters, in four kinds: plain; with states in 8 bits (Dettmers et al. 2022, arXiv 2110.02861); paged
to the host when GPU memory runs out (Dettmers et al. 2023, arXiv 2305.14314, section 3); paged in 8 bits. torch's and bitsandbytes' own.

Plain AdamW has fp32 states beside fp32 masters and takes DTensors. bitsandbytes hands addresses to its kernels and knows no DTensor, so its kinds need sharding
None; a state of fewer than 4,096 values stays in 32 bits there, and one of fewer than 100,000 is never paged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import bitsandbytes as bnb
from medfinetune_api.choices import OptimizerType
from medfinetune_api.plan_training import OptimizerPlan
from torch.optim import Optimizer

from medfinetune_trainer.optim.groups import SCALE
from medfinetune_trainer.optim.offload import HostAdamW
from medfinetune_trainer.optim.states import AdamW, WithStates


class AdamW8bit(WithStates, bnb.optim.AdamW8bit):  # type: ignore[misc]  # bitsandbytes has no types
    """States in 8 bits."""


class PagedAdamW(WithStates, bnb.optim.PagedAdamW):  # type: ignore[misc]  # bitsandbytes has no types
    """States that move to the host and back."""


class PagedAdamW8bit(WithStates, bnb.optim.PagedAdamW8bit):  # type: ignore[misc]  # bitsandbytes has no types
    """Both."""


KINDS: Mapping[OptimizerType, type[WithStates]] = {
    OptimizerType.ADAMW: AdamW,
    OptimizerType.ADAMW_8BIT: AdamW8bit,
    OptimizerType.PAGED_ADAMW: PagedAdamW,
    OptimizerType.PAGED_ADAMW_8BIT: PagedAdamW8bit,
}


def build_optimizer(groups: Sequence[dict[str, Any]], plan: OptimizerPlan, *, on_host: bool = False) -> Optimizer:
    """The plan's AdamW over `groups` (of `parameter_groups`), its states made and at rate 0; `on_host` keeps the states of plain AdamW on the host."""
    kind: Any = HostAdamW if on_host else KINDS[plan.type]
    optimizer: WithStates = kind(list(groups), lr=0.0, betas=(plan.beta1, plan.beta2), eps=plan.epsilon)
    optimizer.make_states()
    return optimizer


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Use `learning_rate`, times each group's multiplier, from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group[SCALE]
