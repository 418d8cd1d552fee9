"""One hash for a base's weights, which a person can make with sha256sum alone. Reads files; imports no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from medfinetune_api.errors import InvalidModel

from medfinetune_trainer.artifacts.files import sha256_file


def weights_sha256(folder: Path) -> str:
    """SHA-256 of model.safetensors, as its publisher shows it; of shards, the SHA-256 of what `LC_ALL=C; sha256sum *.safetensors` prints in `folder`."""
    sums = {path.name: sha256_file(path) for path in sorted(folder.glob("*.safetensors"))}
    if len(sums) == 1:
        return next(iter(sums.values()))
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode()).hexdigest()


def require_weights(folder: Path, expected: str) -> None:
    """Raises InvalidModel where the weights in `folder` do not have the hash that the manifest names."""
    found = weights_sha256(folder)
    if found != expected:
        remedy = "Restore the weights, or correct the hash in the manifest."
        raise InvalidModel("spec.model.sha256", found=f"weights with hash {found}", expected=expected, remedy=remedy)


def require_weights_as_prepared(folder: Path, expected: str) -> None:
    """Raises InvalidModel where the weights in `folder` are not those that prepare saw."""
    found = weights_sha256(folder)
    if found != expected:
        remedy = "Restore the weights; to tune others, give the run another name."
        raise InvalidModel(str(folder), found=f"weights with hash {found}", expected=f"{expected}, as when the run was prepared", remedy=remedy)
