"""A whole model in the layout of its base: the same files, keys, types and order, and other weights where training changed them.

Whoever loads the base loads it the same way, whatever names the publisher chose. It is written tensor by tensor in any order, each at the place that the base's
header gives it: no more than one is in memory, and each byte is written once. What was not written is copied from the base.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from medfinetune_api.errors import Diverged
from torch import Tensor

from medfinetune_trainer.model.folder import weight_files
from medfinetune_trainer.model.stored import Stored, header
from medfinetune_trainer.model.weights import DTYPES

COMPANIONS = (".json", ".jinja", ".model", ".txt")
"""Files beside the weights that loading them needs: configs, the index of shards, tokenizer, chat template."""
TERMS = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")
"""How the names of files begin that must go with a copy of the weights."""
CHUNK = 1 << 24
"""Bytes copied at a time."""


class Successor:
    """A folder that becomes a model."""

    def __init__(self, base: Path, folder: Path) -> None:
        """Begin in `folder`, which exists, with everything of the base but its weights. Raises InvalidModel where the base's files cannot be read."""
        for path in base.iterdir():
            if path.is_file() and (path.suffix in COMPANIONS or path.name.upper().startswith(TERMS)):
                shutil.copyfile(path, folder / path.name)
        self._targets = {file: folder / file.relative_to(base) for file in weight_files(base)}
        self._missing = {stored for file, target in self._targets.items() for stored in _begin(file, target)}

    def write(self, stored: Stored, tensor: Tensor) -> None:
        """Write `tensor`, of any floating type and on any device, in the place and type of the base's `stored`.

        Raises Diverged where a value is NaN, or too large for the type.
        """
        value = tensor.detach().to("cpu", DTYPES[stored.dtype]).contiguous()
        if not torch.isfinite(value).all():
            remedy = "Lower spec.training.learningRate; for a base in FP16, use one in BF16."
            raise Diverged(stored.key, found=f"NaN or infinite values as {stored.dtype}", expected="finite weights", remedy=remedy)
        assert value.shape == stored.shape
        self._missing.remove(stored)
        with self._targets[stored.file].open("r+b") as opened:
            opened.seek(stored.start)
            opened.write(value.flatten().view(torch.uint8).numpy().data)

    def finish(self) -> None:
        """Copy what was not written from the base."""
        for stored in self._missing:
            with stored.file.open("rb") as source, self._targets[stored.file].open("r+b") as target:
                source.seek(stored.start)
                target.seek(stored.start)
                for at in range(stored.start, stored.end, CHUNK):
                    target.write(source.read(min(CHUNK, stored.end - at)))


def _begin(source: Path, target: Path) -> list[Stored]:
    """A file of the same length with the same header, and the places of the tensors behind it."""
    places = list(header(source).values())
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as old, target.open("wb") as new:
        new.write(old.read(min((stored.start for stored in places), default=source.stat().st_size)))
        new.truncate(source.stat().st_size)
    return places
