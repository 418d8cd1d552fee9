"""One hash for a base's weights, made the way a person can make it with two shell commands. Reads files; imports no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from medfinetune_api.errors import InvalidModel

from medfinetune_trainer.artifacts.files import sha256_file


def weights_sha256(folder: Path) -> str:
    """SHA-256 over the names and hashes of the safetensors in `folder`: what `LC_ALL=C; sha256sum *.safetensors | sha256sum` prints there."""
    lines = (f"{sha256_file(path)}  {path.name}\n" for path in sorted(folder.glob("*.safetensors")))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def require_weights(folder: Path, expected: str) -> None:
    """Raises InvalidModel where the weights in `folder` do not have the hash that the manifest names."""
    found = weights_sha256(folder)
    if found != expected:
        remedy = "Copy the model again, or correct the hash: `sha256sum *.safetensors | sha256sum` in the model's folder."
        raise InvalidModel("spec.model.sha256", found=found, expected=expected, remedy=remedy)
