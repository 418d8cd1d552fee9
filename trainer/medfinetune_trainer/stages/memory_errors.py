"""Memory that ran out, told apart: the accelerator's, which a smaller micro-batch may mend, and the host's, which it does not."""

from __future__ import annotations

import errno
import re
import sys

from medfinetune_api.choices import Stage
from medfinetune_api.errors import HostOutOfMemory, OutOfMemory

_SMALLER = {
    Stage.TRAIN: "Lower spec.training.microBatch, set activationCheckpointing: Enabled, or choose sharding Full.",
    Stage.EVALUATE: "Lower spec.evaluation.batchSize; training need not be repeated.",
}

_SAID_BY_CUDA = re.compile(r"CUDA error: out of memory|CU(BLAS|DNN|SPARSE|SOLVER)_STATUS_ALLOC_FAILED|Cuda failure (2 )?'out of memory'")
_SAID_BY_HOST = re.compile(r"DefaultCPUAllocator|Cannot allocate memory")


def memory_refusal(error: BaseException, stage: Stage, where: str) -> OutOfMemory | HostOutOfMemory | None:
    """What `error`, or what it was raised from, says of memory; None where it says nothing. Imports no torch: where none is loaded, none has run out."""
    link: BaseException | None = error
    while link is not None:
        if _accelerator(link):
            remedy = _SMALLER.get(stage, "Free the accelerator of other work.")
            return OutOfMemory(where, found="no memory left on the accelerator", expected="a pass that fits", remedy=remedy)
        if _host(link):
            remedy = f"Give the machine or the pod (spec.resources.{stage}) more memory, or the run less data or a smaller model."
            return HostOutOfMemory(where, found="the host's memory used up", expected="room for this stage", remedy=remedy)
        link = link.__cause__
    return None


def _accelerator(error: BaseException) -> bool:
    """torch's allocator has an error of its own; CUDA, cuBLAS and NCCL say it in a RuntimeError (DistBackendError is one), by these words."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    return isinstance(error, torch.OutOfMemoryError) or (isinstance(error, RuntimeError) and _SAID_BY_CUDA.search(str(error)) is not None)


def _host(error: BaseException) -> bool:
    """Python's, numpy's and Arrow's own error, the kernel's, and what torch's CPU allocator says in a plain RuntimeError."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _SAID_BY_HOST.search(str(error)) is not None)
