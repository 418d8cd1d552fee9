"""A command where there is no network but loopback, and what it tried to reach beyond it.

It runs in network and mount namespaces of its own, all its processes with it. Its resolver is the loopback interface's, where this program answers every
question with "no such name" and notes it. A connection or datagram to any other address has no route, which the kernel counts for the whole namespace,
whatever program or language tried. Needs no root where user namespaces are allowed.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import NamedTuple

_SIOCSIFFLAGS, _UP_RUNNING, _NO_SUCH_NAME = 0x8914, 0x41, 0x8183
_FILES = {
    "resolv.conf": "nameserver 127.0.0.1\noptions attempts:1 timeout:2\n",
    "nsswitch.conf": "hosts: files dns\npasswd: files\ngroup: files\n",
    "hosts": f"127.0.0.1 localhost {socket.gethostname()}\n::1 localhost\n",  # its own name, as a pod's hosts file has it
}


class Isolated(NamedTuple):
    """How the command ended, and what it did."""

    code: int
    output: str
    interfaces: list[str]
    names: list[str]
    """Every name that the resolver was asked for."""
    unroutable: int
    """Attempts to reach an address beyond loopback, over IPv4 and IPv6."""


def isolated(command: Sequence[str | Path], folder: Path) -> Isolated:
    """Run `command` to its end; `folder` takes what is noted. Raises AssertionError where the namespaces cannot be made."""
    evidence = folder / "evidence.json"
    own = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--net", "--mount", "--propagation=private"]
    done = subprocess.run([*own, sys.executable, __file__, evidence, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert evidence.exists(), f"no namespaces of its own (root, or kernel.unprivileged_userns_clone): {done.stdout}"
    return Isolated(done.returncode, done.stdout, **json.loads(evidence.read_text()))


def _run_inside(evidence: Path, command: Sequence[str]) -> int:
    names: list[str] = []
    _raise_loopback()
    for name, text in _FILES.items():
        file = evidence.with_name(name)
        file.write_text(text)
        subprocess.run(["mount", "--bind", file, f"/etc/{name}"], check=True)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    Thread(target=_answer, args=(server, names), daemon=True).start()
    code = subprocess.run(command, check=False).returncode
    interfaces = [line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines() if ":" in line]
    evidence.write_text(json.dumps({"interfaces": interfaces, "names": names, "unroutable": _without_route()}))
    return code


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _UP_RUNNING))


def _answer(server: socket.socket, names: list[str]) -> None:
    """Note each question's name and say that there is no such name."""
    while True:
        question, asker = server.recvfrom(4096)
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode(errors="replace"))
            at += 1 + length
        names.append(".".join(labels))
        server.sendto(question[:2] + struct.pack("!HHHHH", _NO_SUCH_NAME, 1, 0, 0, 0) + question[12 : at + 5], asker)


def _without_route() -> int:
    titles, figures = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:"))
    version_6 = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return int(dict(zip(titles, figures, strict=True))["OutNoRoutes"]) + int(version_6["Ip6OutNoRoutes"])


if __name__ == "__main__":
    sys.exit(_run_inside(Path(sys.argv[1]), sys.argv[2:]))
