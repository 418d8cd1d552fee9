"""The hash of a base's weights is the one that sha256sum makes, and any other is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from medfinetune_api.errors import InvalidModel
from medfinetune_trainer.model.fingerprint import require_weights, weights_sha256


@pytest.fixture()
def weights(tmp_path: Path) -> Path:
    for name in ("model-00002-of-00002", "model-00001-of-00002"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    return tmp_path


def test_the_hash_is_what_the_documented_command_prints(weights: Path) -> None:
    command = "export LC_ALL=C; sha256sum *.safetensors | sha256sum"
    printed = subprocess.run(["sh", "-c", command], cwd=weights, capture_output=True, text=True, check=True).stdout
    assert weights_sha256(weights) == printed.split()[0]


def test_one_changed_byte_is_refused(weights: Path) -> None:
    before = weights_sha256(weights)
    require_weights(weights, before)
    (weights / "model-00001-of-00002.safetensors").write_bytes(b"model-00001-of-0000X")
    with pytest.raises(InvalidModel, match=r"spec\.model\.sha256"):
        require_weights(weights, before)
