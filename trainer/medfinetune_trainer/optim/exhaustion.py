"""Which errors say that the accelerator's memory ran out. Imports no torch: where none is loaded, none has run out."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

_SAID_BY_CUDA = re.compile(r"CUDA error: out of memory|CU(BLAS|DNN|SPARSE|SOLVER)_STATUS_ALLOC_FAILED|Cuda failure (2 )?'out of memory'")


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def exhausted(error: BaseException) -> bool:
    """Whether this error itself says so: torch's allocator has one of its own; CUDA, cuBLAS and NCCL say it in a RuntimeError (DistBackendError is one)."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    return isinstance(error, torch.OutOfMemoryError) or (isinstance(error, RuntimeError) and _SAID_BY_CUDA.search(str(error)) is not None)
