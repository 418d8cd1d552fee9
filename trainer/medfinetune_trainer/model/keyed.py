"""Randomness by name: a weight's first values depend on the seed and on its name alone, so that they are equal on every rank, device and sharding."""

from __future__ import annotations

import hashlib

import torch


def keyed(seed: int, name: str) -> torch.Generator:
    """A generator on the CPU for the parameter `name`; the global random state is left as it is."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
