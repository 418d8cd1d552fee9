"""Spread a tuned model over the ranks, one strategy a name, with equal gradients whatever strategy and world size.

- AdaptersOnly, the hybrid of Yoo et al. 2026 (section on training): the 4-bit base is replicated; adapters, their gradients and optimizer states are sharded.
- Full: the base is sharded too, for models whose base alone does not fit one device. Packed NF4 bits are uint8 and never cast.
- None: everything is replicated (DDP); the fastest where it fits.

Gradients are **summed** over the ranks, never averaged: a rank's loss is a sum over its tokens, and the divisor is the loss tokens of the whole
accumulation window. Without an initialised process group the model stays as it is, as it does with None in a group of one; every function here still applies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from medfinetune_api.choices import Sharding
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel


def checkpoint_activations(base: PreTrainedModel) -> None:
    """Recompute each decoder layer's activations in the backward pass; call before it is sharded. Random state is kept, so dropout draws the same masks twice.

    Takes effect in training mode only.
    """
    enable = getattr(base, "activation_checkpointing_enable", None) or base.gradient_checkpointing_enable
    enable()


@dataclass(frozen=True)
class Spread:
    """Spreads a model over the default process group, group by group, and the rest of it last."""

    sharding: Sharding | None
    """AdaptersOnly, Full or None; the absent one leaves a whole model to each rank, with nothing to sum. All leave a process without a group as it is."""
    compute_dtype: torch.dtype
    """In which trained weights enter matrix products; their masters, gradients and reductions stay fp32."""
    device: torch.device
    """Of this rank."""

    def group(self, modules: Sequence[nn.Module]) -> None:
        """Shard modules that are gathered together: a layer; embedding, norm and head, which may be tied; what text never runs. Equal on every rank."""
        trained = any(parameter.requires_grad for module in modules for parameter in module.parameters())
        if self._shards and modules and (self.sharding is Sharding.FULL or trained):
            self._fully_shard(list(modules))

    def root(self, model: nn.Module) -> nn.Module:
        """What remains of a model whose groups were sharded; returns the module to train."""
        if self._shards:
            self._fully_shard([model])
            for module in model.modules():
                if isinstance(module, FSDPModule):
                    module.set_gradient_divide_factor(1.0)
                    module.set_force_sum_reduction_for_comms(True)
        elif self.sharding is not None:
            _autocast(model, self.compute_dtype, self.device)
            return _replicated(model, self.device) if dist.is_initialized() and dist.get_world_size() > 1 else model
        return model

    @property
    def _shards(self) -> bool:
        return dist.is_initialized() and self.sharding in (Sharding.ADAPTERS_ONLY, Sharding.FULL)

    def _fully_shard(self, modules: list[nn.Module]) -> None:
        frozen = {parameter for module in modules for parameter in module.parameters() if not parameter.requires_grad}
        policy = MixedPrecisionPolicy(param_dtype=self.compute_dtype, reduce_dtype=torch.float32)
        whole = modules[0] if len(modules) == 1 else modules
        fully_shard(whole, mp_policy=policy, ignored_params=frozen if self.sharding is Sharding.ADAPTERS_ONLY else set())


def is_alone(module: nn.Module) -> bool:
    """Whether a pass of what `Spread` returned concerns this rank alone: then one that broke off can be done again."""
    return not isinstance(module, FSDPModule | DistributedDataParallel)


def gradient_sync(module: nn.Module, enabled: bool) -> None:
    """Whether the next micro-batch reduces gradients over the ranks; on for the last of a window only. Call before its forward; every rank must agree."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(enabled)
        module.set_is_last_backward(enabled)
    elif isinstance(module, DistributedDataParallel):
        module.require_backward_grad_sync = enabled


def clip_grad_norm(module: nn.Module, max_norm: float) -> float:
    """Scale all gradients so that their global L2 norm is at most `max_norm` (0 leaves them), and return the norm before: equal on all ranks."""
    parameters = trainable(module)
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    if max_norm > 0:
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return float(norm)


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that training changes, in a fixed order."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def unwrapped(module: nn.Module) -> nn.Module:
    """The model inside what `Spread.root` returned: what `Tuning.attach` made."""
    return cast(nn.Module, module.module) if isinstance(module, DistributedDataParallel) else module


def gathered(tensor: Tensor) -> Tensor:
    """The whole of a possibly sharded tensor, detached; a collective where it is sharded."""
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _replicated(model: nn.Module, device: torch.device) -> DistributedDataParallel:
    """DDP without its broadcast of the base: every rank has read the same files."""
    ids = [device] if device.type == "cuda" else None
    replicated = DistributedDataParallel(model, device_ids=ids, init_sync=False, broadcast_buffers=False)
    replicated.register_comm_hook(None, lambda _, bucket: _sum_over_ranks(bucket))
    return replicated


def _sum_over_ranks(bucket: Any) -> torch.futures.Future[Tensor]:
    """DDP's own reduction averages. `bucket` is a GradBucket, a name that torch.distributed exports at run time only."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    future: torch.futures.Future[list[Tensor]] = work.get_future()
    return future.then(lambda reduced: reduced.value()[0])


def _autocast(model: nn.Module, compute_dtype: torch.dtype, device: torch.device) -> None:
    """Without FSDP's mixed precision, fp32 adapters would make 16-bit products fp32."""
    if compute_dtype is not torch.float32:
        model.forward = torch.autocast(device.type, compute_dtype)(model.forward)
