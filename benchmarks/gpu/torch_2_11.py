"""What torch 2.11 lacks to shard a base's packed 4-bit bits, so that the script also says something of a machine that has it.

Its `fully_shard` makes every sharded parameter one that requires gradients, which bytes cannot, and casts bytes as it casts weights. torch 2.12 does neither
(pytorch issue 177844). Sharding Full of a 4-bit base needs 2.12; here the two are mended for this process.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn


def mend_sharding_of_bytes() -> bool:
    """Let `fully_shard` of torch 2.11 take frozen bytes as 2.12 does; returns whether there was anything to mend."""
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 12):
        return False
    from torch.distributed.fsdp._fully_shard import _fsdp_param, _fsdp_param_group

    class UncastBytes(_fsdp_param.FSDPParam):
        """A parameter that mixed precision casts only where it is a number."""

        def init_dtype_attrs(self, mp_policy: Any) -> None:
            """As torch's own, then as torch 2.12's."""
            super().init_dtype_attrs(mp_policy)
            if not self.orig_dtype.is_floating_point:
                self.param_dtype = None

    vars(_fsdp_param)["nn"] = SimpleNamespace(Module=nn.Module, Parameter=_parameter)
    vars(_fsdp_param_group)["FSDPParam"] = UncastBytes
    return True


def _parameter(data: Tensor, requires_grad: bool = True) -> nn.Parameter:
    return nn.Parameter(data, requires_grad=requires_grad and data.is_floating_point())
