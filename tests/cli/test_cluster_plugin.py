"""The same program as kubectl's plugin: kubectl finds it by its name, and it shows the name it was called by."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cluster.programs import program
from support.cli import SECONDS, medfinetune
from support.cluster_cli import ClusterCli

SLOW = ("kubernetes", "rich", "pydantic", "yaml")


def kubectl(cli: ClusterCli, *arguments: str) -> subprocess.CompletedProcess[str]:
    """kubectl, where this environment's programs are in PATH."""
    path = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]), "KUBECACHEDIR": str(cli.plane.folder / "kubectl")}
    command = [program("kubectl"), *arguments]
    return subprocess.run(command, env=cli.environment() | path, capture_output=True, text=True, timeout=SECONDS, check=False)


def test_kubectl_finds_it_and_help_shows_the_name_it_was_called_by(cli: ClusterCli) -> None:
    helped = kubectl(cli, "medfinetune", "submit", "--help").stdout
    assert "Usage: kubectl medfinetune submit" in helped
    assert "kubectl medfinetune submit manifest.yaml --dry-run=server" in helped
    assert "Usage: medfinetune submit" in medfinetune("submit", "--help").stdout


def test_as_a_plugin_it_uses_kubectls_cluster_and_options(cli: ClusterCli) -> None:
    cli.stored("ward")
    assert kubectl(cli, "medfinetune", "status").stdout.splitlines()[1].split()[0] == "ward"
    elsewhere = kubectl(cli, "medfinetune", "status", "-n", "default")
    assert (elsewhere.returncode, elsewhere.stdout) == (0, "")


def test_the_verbs_for_a_cluster_do_not_slow_the_others() -> None:
    code = f"import sys, medfinetune_cli.main; print([name for name in {SLOW!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
