"""Memory that is given back: while a model is read, large blocks get memory maps of their own, which return to the system when they are freed.

glibc raises its threshold for such maps with each one that is freed, up to 32 MiB, and takes later blocks from its heap. There what was read and quantised
leaves holes between the packed bits that stay: 129 MiB of weights that quantise to 33 kept 131 MiB.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""mallopt(3)."""
_LARGE, _HIGHEST = 256 << 10, 32 << 20
"""Bytes; the second is where glibc's own adjustment ends: training goes on as it would have."""


@contextmanager
def blocks_of_their_own() -> Iterator[None]:
    """While it lasts, what takes 256 KiB or more is returned as it is freed. Without glibc nothing changes."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        yield
        return
    mallopt(_MMAP_THRESHOLD, _LARGE)
    try:
        yield
    finally:
        mallopt(_MMAP_THRESHOLD, _HIGHEST)
        mallopt(_TRIM_THRESHOLD, 2 * _HIGHEST)
