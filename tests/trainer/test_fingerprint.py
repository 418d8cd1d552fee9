"""The hash of a base's weights is the one that sha256sum makes, and any other is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from medfinetune_api.errors import InvalidModel
from medfinetune_trainer.model.fingerprint import require_weights, weights_sha256


@pytest.mark.parametrize(
    ("names", "command"),
    [(("model",), "sha256sum model.safetensors"), (("model-00002-of-00002", "model-00001-of-00002"), "export LC_ALL=C; sha256sum *.safetensors | sha256sum")],
)
def test_the_hash_is_what_the_documented_command_prints_and_one_changed_byte_is_refused(tmp_path: Path, names: tuple[str, ...], command: str) -> None:
    for name in names:
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    printed = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()[0]
    assert weights_sha256(tmp_path) == printed
    require_weights(tmp_path, printed)
    (tmp_path / f"{names[-1]}.safetensors").write_bytes(b"changed")
    with pytest.raises(InvalidModel, match=r"spec\.model\.sha256"):
        require_weights(tmp_path, printed)
