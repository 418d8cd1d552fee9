"""A whole run where there is no network, in one process: screened, prepared, trained, resumed, evaluated, told; and nothing in it even tries to reach out."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from medfinetune_api.layout import RunFolder
from support.isolated import isolated

RUN = "import sys; from pathlib import Path; from support.small_real import small_real_run; small_real_run(Path(sys.argv[1]), Path(sys.argv[2]))"

RESOLVES = "import socket; socket.getaddrinfo('weights.example.org', 443)"
CONNECTS = "import socket; socket.create_connection(('192.0.2.1', 443))"
CONNECTS_BY_VERSION_6 = "import socket; socket.create_connection(('2001:db8::1', 443))"
SENDS = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'telemetry', ('192.0.2.1', 8125))"
THROUGH_A_CHILD = "import subprocess; subprocess.run(['getent', 'hosts', 'weights.example.org'], check=True)"


def test_a_run_needs_no_network_and_does_not_ask_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))

    run = isolated([sys.executable, "-c", RUN, tmp_path / "results", tmp_path / "agent"], tmp_path)

    assert (run.code, run.interfaces, run.names, run.unroutable) == (0, ["lo"], [], 0), run.output
    (folder,) = (RunFolder(path) for path in (tmp_path / "results").iterdir() if path.is_dir())
    assert (folder.adapter / "adapter_model.safetensors").exists()
    assert folder.report.exists()


@pytest.mark.parametrize(
    ("program", "names", "unroutable"),
    [
        (RESOLVES, {"weights.example.org"}, 0),
        (THROUGH_A_CHILD, {"weights.example.org"}, 0),
        (CONNECTS, set(), 1),
        (CONNECTS_BY_VERSION_6, set(), 1),
        (SENDS, set(), 1),
    ],
)
def test_reaching_out_is_seen(program: str, names: set[str], unroutable: int, tmp_path: Path) -> None:
    seen = isolated([sys.executable, "-c", program], tmp_path)
    assert seen.code == 1
    assert (set(seen.names), seen.unroutable) == (names, unroutable), seen.output
