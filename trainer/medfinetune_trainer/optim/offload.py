"""Host memory in place of the accelerator's: slower, the same result bit for bit.

Activations: what the forward pass saves for the backward pass is copied to pinned memory and back, as by torch's `save_on_cpu`, but for two things. Views of
weights are left where they are: torch's context would copy every frozen matrix of every layer to the host and back, and under FSDP keep the whole gathered
model there. And strides are kept: it makes all tensors contiguous, other kernels sum in another order, and gradients differed by up to 6e-7. Around activation
checkpointing the layers' inputs lie on the host, and what a layer computes again stays on the device. Cost: all activations over the bus twice a pass, and as
much host memory; what several operators save is copied for each.

Optimizer: AdamW's two moments lie in pinned memory; a step brings one parameter's at a time to the device, updates there and copies them back, so that the
device holds the moments of one parameter at most. FSDP's CPUOffloadPolicy would move weights and gradients too and update them on the processor, whose sums
differ from the device's in the last bits. Cost: 16 bytes a trained parameter (of this rank's shard) over the bus at each step, two reads and two writes.

On a processor the same code runs, and the copies stay within the same memory. Not run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.distributed.tensor import DTensor
from torch.optim.adamw import adamw

from medfinetune_trainer.optim.states import AdamW


class ActivationsOnHost(saved_tensors_hooks):
    """While it lasts, what autograd saves lies on the host; but for weights."""

    def __init__(self) -> None:
        super().__init__(_to_host, _from_host)


def _to_host(saved: Tensor) -> Tensor | tuple[torch.device, Tensor]:
    """A weight as it is; anything else as its device and a copy. Copies both ways stand in the stream that computes, so none is read too early."""
    if isinstance(saved._base, nn.Parameter):
        return saved
    copy = torch.empty_like(saved, device="cpu", pin_memory=saved.is_cuda)
    return saved.device, copy.copy_(saved, non_blocking=True)


def _from_host(packed: Tensor | tuple[torch.device, Tensor]) -> Tensor:
    return packed if isinstance(packed, Tensor) else packed[1].to(packed[0], non_blocking=True)


def with_activations_on_host(loss: Callable[..., Any]) -> Callable[..., Any]:
    """`loss`, whose graph keeps its tensors on the host."""

    def run(*arguments: Any) -> Any:
        with ActivationsOnHost():
            return loss(*arguments)

    return run


class HostAdamW(AdamW):
    """AdamW whose moments lie in host memory. Parameters may be DTensors: the update is elementwise, so each rank updates its shards."""

    def home(self, parameter: nn.Parameter) -> torch.device:
        """The host."""
        return torch.device("cpu")

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure: the gradient is there
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(group, parameter, parameter.grad)
        if torch.cuda.is_available():
            torch.cuda.current_stream().synchronize()  # the next reader of the moments is on the host: a checkpoint

    def _update(self, group: dict[str, Any], parameter: nn.Parameter, gradient: Tensor) -> None:
        state, weight = self.state[parameter], _local(parameter)
        kept = [_local(state[name]) for name in ("exp_avg", "exp_avg_sq")]
        means, squares = ([moment.to(weight.device, non_blocking=True)] for moment in kept)
        beta1, beta2 = group["betas"]
        rates = {"lr": group["lr"], "weight_decay": group["weight_decay"], "eps": group["eps"]}
        adamw([weight], [_local(gradient)], means, squares, [], [state["step"]], amsgrad=False, maximize=False, beta1=beta1, beta2=beta2, **rates)
        for moment, (new,) in zip(kept, (means, squares), strict=True):
            moment.copy_(new, non_blocking=True)


def _local(tensor: Tensor) -> Tensor:
    """This rank's shard, which shares the tensor's memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
