"""The type of matrix products: what the plan asks for, or what suits the device."""

from __future__ import annotations

import torch
from medfinetune_api.choices import Precision


def compute_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The type of matrix products; Auto is BF16 on CUDA and FP32 on the CPU, where 16 bits are slower."""
    if precision is Precision.AUTO:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16, Precision.FP32: torch.float32}[precision]
