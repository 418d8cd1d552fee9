"""The real command line, forked from a process that has imported what every command on a cluster imports: 1.5 CPU seconds that are not the product's to save.

Each command is a process of its own, with its own arguments, environment, working folder, descriptors and exit code, and runs the program from its first
line: what is shared is third-party modules alone.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

SECONDS = 600.0
"""Bound of a command; a test that reaches it has failed."""
LARGEST = 1 << 20
"""Bytes of a request: arguments and environment."""


class WarmProgram:
    """Runs commands one after the other; a context manager that ends the process they are forked from."""

    def __enter__(self) -> WarmProgram:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.settimeout(SECONDS)
        with theirs:
            command = [sys.executable, "-m", "support.warm", str(theirs.fileno())]
            self._server = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=Path(__file__).parents[1])
        return self

    def __exit__(self, *error: object) -> None:
        self._channel.close()
        self._server.wait(SECONDS)

    def run(self, arguments: list[str], environment: Mapping[str, str], input: str) -> subprocess.CompletedProcess[str]:
        """One command to its end."""
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            stdin.write(input.encode())
            stdin.seek(0)
            request = {"arguments": arguments, "environment": dict(environment), "folder": str(Path.cwd())}
            socket.send_fds(self._channel, [json.dumps(request).encode()], [each.fileno() for each in (stdin, stdout, stderr)])
            return subprocess.CompletedProcess(arguments, int(self._channel.recv(LARGEST)), _read(stdout), _read(stderr))


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _serve(channel: socket.socket) -> None:
    """Fork a command a request, until nobody asks any more."""
    gc.freeze()
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, LARGEST, 3)
        if not message:
            return None
        child = os.fork()
        if not child:
            channel.close()
            return _become(json.loads(message), descriptors)
        for each in descriptors:
            os.close(each)
        channel.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def _become(request: Mapping[str, Any], descriptors: list[int]) -> None:
    """Go on as the program, as `python -m medfinetune_cli` begins."""
    from kubernetes.config import kube_config

    for number, each in enumerate(descriptors):
        os.dup2(each, number)
        os.close(each)
    os.environ.clear()
    os.environ.update(request["environment"])
    kube_config.KUBE_CONFIG_DEFAULT_LOCATION = os.environ.get("KUBECONFIG", "~/.kube/config")  # read once, where it is imported
    os.chdir(request["folder"])
    sys.argv = ["medfinetune", *request["arguments"]]
    runpy.run_module("medfinetune_cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    import kubernetes.client
    import kubernetes.config
    import kubernetes.stream
    import kubernetes.watch  # noqa: F401
    import typer  # noqa: F401
    import yaml  # noqa: F401

    _serve(socket.socket(fileno=int(sys.argv[1])))
