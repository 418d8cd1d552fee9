"""A node leaves no process, interface or mount behind, not even when the tests that started it are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cluster.processes import wait_until

HOLD = """
import os, sys, time
from pathlib import Path
from cluster.images.pause import pause_folder
from cluster.node.namespaces import Namespaces
with Namespaces(Path(sys.argv[1]), pause_folder() / "pause") as inside:
    inside.run("ip", "link", "add", "bridge0", "type", "bridge")
    inside.serve("left", ["sleep", "infinity"])
    print(f"mft{inside.number}", os.readlink(f"/proc/{inside.pid}/ns/net"), flush=True)
    time.sleep(600)
"""


def test_a_killed_test_run_takes_its_node_with_it(tmp_path: Path) -> None:
    links, mounts = links_here(), mounts_here()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            link, network = holder.stdout.readline().split()
            assert links_here() - links == {link}
            assert mounts_here() == mounts
            assert len(processes_of(network)) >= 2
        finally:
            holder.kill()
    wait_until("the end of its processes", lambda: not processes_of(network))
    wait_until("the end of its interface", lambda: links_here() == links)


def links_here() -> set[str]:
    """The network interfaces of this machine."""
    return {path.name for path in Path("/sys/class/net").iterdir()}


def mounts_here() -> list[str]:
    """The mounts that this process sees."""
    return Path("/proc/self/mounts").read_text().splitlines()


def processes_of(network: str) -> list[str]:
    """The processes in that network namespace."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str((path / "ns" / "net").readlink()) == network:
                found.append(path.name)
        except (FileNotFoundError, PermissionError):
            # Gone meanwhile, or one that not even root may look into: none of ours.
            continue
    return found
