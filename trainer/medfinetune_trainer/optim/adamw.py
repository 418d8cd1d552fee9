"""AdamW (Loshchilov and Hutter 2019) over the trained parameters; fp32 states beside fp32 adapters."""

from __future__ import annotations

from collections.abc import Sequence

from medfinetune_api.plan import OptimizerPlan
from torch import nn
from torch.optim import AdamW, Optimizer


def adamw(parameters: Sequence[nn.Parameter], plan: OptimizerPlan, learning_rate: float) -> AdamW:
    """AdamW as the plan says; matrices decay, vectors (norms, biases) do not. Parameters may be DTensors."""
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    vectors = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": plan.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return AdamW([group for group in groups if group["params"]], lr=learning_rate, betas=(plan.beta1, plan.beta2), eps=plan.epsilon)


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Use `learning_rate` from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
