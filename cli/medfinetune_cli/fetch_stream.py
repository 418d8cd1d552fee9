"""The stream of a fetch: a program in the pod writes a tar of the wanted files, then their SHA-256; it comes through the exec websocket, read as it comes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from medfinetune_api.layout import UNFINISHED, WORKING
from medfinetune_api.objects import OUTPUT_FOLDER

from medfinetune_cli.cluster_client import Cluster
from medfinetune_cli.cluster_errors import ClusterRefusal, api_errors, unreachable
from medfinetune_cli.fetch_pod import CONTAINER

if TYPE_CHECKING:
    from kubernetes.stream.ws_client import WSClient

SUMS = ".sha256.json"
"""Name of the tar's last member: path -> SHA-256 of each file before it. Without it the stream was cut."""
KEPT_BACK = (*WORKING.values(), *UNFINISHED)
"""Patterns, relative to the run's folder, of what holds record text or was never finished: it stays on the volume."""
STDOUT = 1
"""Kubernetes' number of that channel."""
SILENCE = 120.0
"""Seconds without a byte after which the stream is given up."""
NO_FOLDER = 3
"""Exit code of the program where the run's folder, or what was wanted of it, is not there."""

SENDER = f"""
import fnmatch, hashlib, io, json, os, sys, tarfile
root, wanted, kept_back = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
class Hashed:
    def __init__(self, file): self.file, self.sha256 = file, hashlib.sha256()
    def read(self, size):
        part = self.file.read(size)
        self.sha256.update(part)
        return part
def stays(path):
    steps = path.split("/")
    return any(fnmatch.fnmatchcase("/".join(steps[:n]), one) for n in range(1, len(steps) + 1) for one in kept_back)
def found():
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            short = os.path.relpath(path, root)
            if os.path.islink(path) or not os.path.isfile(path) or stays(short): continue
            if not wanted or any(within(short, one) for one in wanted): yield path, short
def within(short, one): return short == one or short.startswith(one + "/")
files = list(found())
if not any(within(short, wanted[0]) if wanted else True for path, short in files): sys.exit({NO_FOLDER})
sums = {{}}
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as tar:
    for path, short in files:
        with open(path, "rb") as file:
            info = tarfile.TarInfo(short)
            info.size, hashed = os.fstat(file.fileno()).st_size, Hashed(file)
            tar.addfile(info, hashed)
            sums[short] = hashed.sha256.hexdigest()
    text = json.dumps(sums).encode()
    info = tarfile.TarInfo({SUMS!r})
    info.size = len(text)
    tar.addfile(info, io.BytesIO(text))
sys.stdout.buffer.flush()
"""
"""What the pod runs: standard library only, any Python from 3.8. A file that grows meanwhile is sent up to the size it had."""


class NotOnVolume(ClusterRefusal):
    """The volume does not hold what was asked for."""


class SenderFailed(ClusterRefusal):
    """The program in the pod did not end well."""


def command(folder: str, paths: Sequence[str], root: str = OUTPUT_FOLDER) -> list[str]:
    """The command that sends `paths` (none: all but what is kept back) of the run's folder; where there is nothing of the first, none."""
    return ["python3", "-c", SENDER, f"{root}/{folder}", json.dumps(list(paths)), json.dumps(KEPT_BACK)]


class ExecStream:
    """stdout of a command in a pod, read once. At its end it knows how the command ended."""

    def __init__(self, socket: WSClient, server: str) -> None:
        self._socket, self._server, self._rest = socket, server, b""

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end. Raises Unreachable where the stream breaks or falls silent, NotOnVolume or SenderFailed at the end."""
        parts: list[bytes] = []
        while size > 0 and (part := self._rest or self._next()):
            parts.append(part[:size])
            self._rest = part[size:]
            size -= len(parts[-1])
        return b"".join(parts)

    def _next(self) -> bytes:
        """What came next, at least one byte; nothing once the command has ended well."""
        from websocket import WebSocketException

        end = time.monotonic() + SILENCE
        try:
            while not (part := bytes(self._socket.read_channel(STDOUT, timeout=0))):
                if not self._socket.is_open():
                    self._require_success()
                    return b""
                if time.monotonic() > end:
                    raise unreachable(self._server, f"no byte for {SILENCE:.0f} s")
                self._socket.update(timeout=1)
        except (WebSocketException, OSError) as error:
            raise unreachable(self._server, f"a broken stream ({type(error).__name__})") from None
        return part

    def _require_success(self) -> None:
        try:
            code = self._socket.returncode
        except (TypeError, KeyError, IndexError, ValueError):
            raise unreachable(self._server, "a stream that ended without saying how") from None
        if code == NO_FOLDER:
            remedy = "Look where the run is: medfinetune status. Before prepare there is no folder, before evaluate no evaluation."
            raise NotOnVolume("the run's folder", found="no such files on the output volume", expected="what was asked for", remedy=remedy)
        if code:
            remedy = "Try again; if it stays so, the pod's image needs a python3 of 3.8 or newer, and its user the right to read the files."
            raise SenderFailed("the pod that reads the volume", found=f"exit code {code}", expected="0", remedy=remedy)


@contextmanager
def exec_stream(cluster: Cluster, pod: str, arguments: Sequence[str]) -> Iterator[ExecStream]:
    """Run a command in the pod and read its stdout. Raises Forbidden where exec is not allowed."""
    from kubernetes.stream import stream
    from kubernetes.stream.ws_client import websocket_call

    with api_errors(cluster.server):
        call = cluster.core.connect_get_namespaced_pod_exec
        options: dict[str, Any] = {"container": CONTAINER, "stdin": False, "stdout": True, "stderr": True, "tty": False}
        options |= {"binary": True, "_preload_content": False}
        # As `stream` itself calls it, but for what it would do else: keep all that ever came in memory.
        socket = stream.func(partial(websocket_call, capture_all=False), None, call, pod, cluster.namespace, command=list(arguments), **options)
    try:
        yield ExecStream(socket, cluster.server)
    finally:
        socket.close()
