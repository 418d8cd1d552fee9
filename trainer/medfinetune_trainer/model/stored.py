"""Tensors in safetensors files, where they lie and whether they are numbers. Reads files; imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from medfinetune_api.errors import InvalidModel
from safetensors import SafetensorError, safe_open

from medfinetune_trainer.telemetry.heartbeat import beat

EXPONENTS = {"F64": ("<u8", 0x7FF0000000000000), "F32": ("<u4", 0x7F800000), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80)}
"""By safetensors' word for a type: the integers that its values are read as, and the bits of the exponent, all set in NaN and infinity (IEEE 754, 3.4)."""
READ_AT_ONCE = 1 << 24
"""Bytes."""


@dataclass(frozen=True)
class Stored:
    """One tensor of one file."""

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: str
    start: int
    """Byte of the file at which it begins."""
    end: int


def header(file: Path) -> dict[str, Stored]:
    """The file's tensors by key. safetensors checks that they fill the file and do not overlap, but does not tell where they lie.

    Raises InvalidModel where it cannot be read.
    """
    try:
        with safe_open(file, framework="numpy"), file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            entries = json.loads(opened.read(size))
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise unreadable(file, error) from error
    entries.pop("__metadata__", None)
    return {key: Stored(file, key, tuple(entry["shape"]), entry["dtype"], *(8 + size + at for at in entry["data_offsets"])) for key, entry in entries.items()}


def refuse_not_numbers(files: Iterable[Path]) -> None:
    """Raises InvalidModel where a weight in one of `files` is NaN or infinite, or a file cannot be read: known before a GPU is asked for.

    Reads every file once, a few hundred MB a second and more.
    """
    for file in files:
        for stored in header(file).values():
            if stored.dtype in EXPONENTS and not _all_numbers(stored):
                raise not_numbers(stored, stored.dtype)


def not_numbers(stored: Stored, dtype: str) -> InvalidModel:
    """The refusal of a weight that holds NaN or infinity, read as `dtype`: one such weight makes every loss NaN."""
    return InvalidModel(
        str(stored.file),
        found=f"NaN or infinite values in {stored.key}, read as {dtype}",
        expected="finite weights",
        remedy="Copy the model again and compare its hashes with the publisher's; a base in bf16 or fp32 may need another precision than FP16.",
    )


def unreadable(file: Path, error: Exception) -> InvalidModel:
    """The refusal of a file that is no complete safetensors file."""
    return InvalidModel(
        str(file),
        found=f"weights that cannot be read ({type(error).__name__})",
        expected="complete safetensors files",
        remedy="Copy the model again and compare its hashes with the publisher's.",
    )


def _all_numbers(stored: Stored) -> bool:
    integers, exponent = EXPONENTS[stored.dtype]
    left = (stored.end - stored.start) // np.dtype(integers).itemsize
    try:
        with stored.file.open("rb") as opened:
            opened.seek(stored.start)
            while left > 0:
                values = np.fromfile(opened, dtype=integers, count=min(left, READ_AT_ONCE // np.dtype(integers).itemsize))
                if not values.size or ((values & exponent) == exponent).any():
                    return False
                left -= values.size
                beat()
    except OSError as error:
        raise unreadable(stored.file, error) from error
    return True
