"""Memory that ran out, told apart: the accelerator's, which a smaller micro-batch may mend, and the host's, which it does not."""

from __future__ import annotations

import errno
import re

from medfinetune_api.choices import Stage
from medfinetune_api.errors import HostOutOfMemory, OutOfMemory

from medfinetune_trainer.optim.exhaustion import causes, exhausted

_SMALLER = {
    Stage.TRAIN: "Lower spec.training.microBatch, set activationCheckpointing: Enabled, or choose sharding Full.",
    Stage.EVALUATE: "Lower spec.evaluation.batchSize; training need not be repeated.",
}

_SAID_BY_HOST = re.compile(r"DefaultCPUAllocator|Cannot allocate memory")


def memory_refusal(error: BaseException, stage: Stage, where: str) -> OutOfMemory | HostOutOfMemory | None:
    """What `error`, or what it was raised from, says of memory; None where it says nothing. Imports no torch: where none is loaded, none has run out."""
    for link in causes(error):
        if exhausted(link):
            remedy = _SMALLER.get(stage, "Free the accelerator of other work.")
            return OutOfMemory(where, found="no memory left on the accelerator", expected="a pass that fits", remedy=remedy)
        if _host(link):
            remedy = f"Give the machine or the pod (spec.resources.{stage}) more memory, or the run less data or a smaller model."
            return HostOutOfMemory(where, found="the host's memory used up", expected="room for this stage", remedy=remedy)
    return None


def _host(error: BaseException) -> bool:
    """Python's, numpy's and Arrow's own error, the kernel's, and what torch's CPU allocator says in a plain RuntimeError."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _SAID_BY_HOST.search(str(error)) is not None)
