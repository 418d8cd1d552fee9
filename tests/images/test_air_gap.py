"""A whole run on a machine without a network: prepare with its screening, train, evaluate, report; and nothing even tries to reach out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml
from medfinetune_api.layout import RunFolder
from support.cli import command
from support.isolated import isolated
from support.manifests import minimal_manifest
from support.stages import EXAMPLE, SOURCES, models_volume

TASKS = [source | {"name": f"seen-{source['language']}", "limit": 4, "seen": True} for source in SOURCES]
ONE_PROCESS = {"nodes": 1, "gpusPerNode": 0}

OF_LOOPBACK = {"1.0.0.127.in-addr.arpa"}
"""What torch's store asks by itself: the name of its own address, seen through an IPv6 socket, for which hosts files have no line."""

RESOLVES = "import socket; socket.getaddrinfo('weights.example.org', 443)"
CONNECTS = "import socket; socket.create_connection(('192.0.2.1', 443))"
CONNECTS_BY_VERSION_6 = "import socket; socket.create_connection(('2001:db8::1', 443))"
SENDS = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'telemetry', ('192.0.2.1', 8125))"
THROUGH_A_CHILD = "import subprocess; subprocess.run(['getent', 'hosts', 'weights.example.org'], check=True)"


def test_a_run_needs_no_network_and_does_not_ask_for_one(tmp_path: Path) -> None:
    spec = {
        "data": {"sources": SOURCES, "maxLength": 512},
        "training": {"epochs": 1, "globalBatchTokens": 8192, "precision": "FP32"},
        "parallelism": ONE_PROCESS,
        "evaluation": {"tasks": TASKS},
    }
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(yaml.safe_dump(minimal_manifest(**spec)), encoding="utf-8")
    volumes = ("--models", models_volume(), "--data", EXAMPLE, "--output", tmp_path / "results")

    run = isolated(command("run", manifest, *volumes), tmp_path)

    assert (run.code, run.interfaces, set(run.names) - OF_LOOPBACK, run.unroutable) == (0, ["lo"], set(), 0), run.output
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
