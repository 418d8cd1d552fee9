"""A machine within this machine: network, mount and process namespaces of its own, joined to the outside by one pair of interfaces.

A node changes much of where it runs: bridges, iptables rules, mounts, sockets below /run, processes that outlive their parent. Here all of it belongs
to namespaces whose first process is ours: when that process is killed, or the tests are, the kernel takes everything with it. Several run side by side,
each with the number that its interface carries.

The outside is `gateway`, inside is `address`; pods have `pod_network`, to which the outside has a route. There is no masquerade: a pod reaches this
machine and nothing beyond it, as in an air-gapped hospital.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster.node import cgroups
from cluster.processes import Server, wait_until

_MOST = 250

_INSIDE = """
set -e
mount --make-rshared /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /var/log
ip link set lo up
ip link set {inner} name eth0
ip address add {address}/30 dev eth0
ip link set eth0 up
ip route add default via {gateway}
echo 1 > /proc/sys/net/ipv4/ip_forward
"""
"""What a program keeps where the machine keeps state is fresh and in memory; mounts made inside reach the pods and never the outside."""


class Namespaces:
    """Namespaces that live from enter to exit; `folder` takes the logs, `init` is the program that is process 1 in them and reaps what others leave."""

    def __init__(self, folder: Path, init: Path) -> None:
        self.folder, self._init = folder, init
        self._servers: list[Server] = []
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        # Private first: what is mounted inside must not spread to the outside.
        own = ["--net", "--mount", "--pid", "--ipc", "--propagation=private", "--mount-proc", "--kill-child=KILL", "--fork"]
        self._first = Server(["unshare", *own, self._init], self.folder / "init.log")
        try:
            self._first.wait_for("entering its namespaces", self._entered)
            self._join_network()
            cgroups.make(self.number)
        except BaseException:
            self._first.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._first.kill()
        for server in self._servers:
            server.kill()
        wait_until("the end of every process in the namespaces", lambda: not Path("/proc", str(self.pid)).exists())
        cgroups.remove(self.number)

    def run(self, *command: str | Path, input: str | None = None) -> str:
        """Run a command inside and return its standard output. Raises AssertionError with its words where it fails."""
        done = subprocess.run([*self._enter(), *command], input=input, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def serve(self, name: str, command: Sequence[str | Path]) -> Server:
        """Start a program inside that is to go on, its output in `name`.log."""
        self._servers.append(Server([*self._enter(), *command], self.folder / f"{name}.log", os.environ | {"NO_PROXY": "*"}))
        return self._servers[-1]

    def _enter(self) -> list[str]:
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", "--ipc"]

    def _entered(self) -> bool:
        """Whether process 1 inside has become `init`: only then are its mounts made. Notes its id outside."""
        pid = self._first.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            self.pid = int(child)
            return Path("/proc", child, "comm").read_text().strip() == self._init.name
        return False

    def _join_network(self) -> None:
        """Take the first number whose interface nobody has: the kernel refuses a second of that name, so no two can take the same."""
        for number in range(1, _MOST):
            outer, inner = f"mft{number}", f"mft{number}i"
            made = ["ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", str(self.pid)]
            if subprocess.run(made, capture_output=True, check=False).returncode == 0:
                break
        else:
            raise AssertionError(f"no free number below {_MOST} for an interface mft<number>; see `ip link`, and whether this user may add one")
        self.number, self.gateway, self.address = number, f"100.64.{number}.1", f"100.64.{number}.2"
        self.pod_network = f"10.244.{number}.0/24"
        self.run("sh", "-c", _INSIDE.format(inner=inner, address=self.address, gateway=self.gateway))
        outside = [
            ["address", "add", f"{self.gateway}/30", "dev", outer],
            ["link", "set", outer, "up"],
            ["route", "add", self.pod_network, "via", self.address],
        ]
        for arguments in outside:
            subprocess.run(["ip", *arguments], check=True)
