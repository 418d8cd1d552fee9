"""Receives the tar of a fetch: plain files below one folder and nothing else, each compared with the SHA-256 that the pod computed."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from medfinetune_cli.cluster_errors import ClusterRefusal
from medfinetune_cli.fetch_stream import SUMS

PART = 1 << 20
MOST_SUMS = 64 << 20
"""Bytes of the list of hashes that are read at most."""


class Stream(Protocol):
    """What a tar is read from."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; fewer only at the end."""


class DamagedStream(ClusterRefusal):
    """What came is not what the pod sent."""


@dataclass(frozen=True)
class ReceivedFile:
    """One file that lies below the folder now; `path` is relative to it."""

    path: str
    size: int
    sha256: str


def receive(stream: Stream, folder: Path) -> tuple[ReceivedFile, ...]:
    """Write the files of a tar stream below `folder`, which is empty. Raises DamagedStream at the first member that is no plain file inside it, and
    where a file, or the end, is not as the pod's hashes say.
    """
    received: dict[str, ReceivedFile] = {}
    sums: Mapping[str, str] | None = None
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]  # it asks for read() alone
            for member in tar:
                if sums is not None:
                    raise _damaged(member.name, "something behind the end of the stream")
                content = _content(tar, member)
                if member.name == SUMS:
                    sums = json.loads(content.read(MOST_SUMS))
                else:
                    received[member.name] = _write(content, member, folder)
    except (tarfile.TarError, ValueError, EOFError):
        raise _damaged("the stream", "a stream that was cut or garbled") from None
    return _verified(received, sums)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    path = PurePosixPath(member.name)
    if not member.isreg() or path.is_absolute() or ".." in path.parts or not path.parts or "\\" in member.name or "\0" in member.name:
        raise _damaged(member.name, "a link, a device, or a path outside the run's folder")
    content = tar.extractfile(member)
    assert content is not None  # a regular file has content
    return content


def _write(content: IO[bytes], member: tarfile.TarInfo, folder: Path) -> ReceivedFile:
    target, sha256 = folder / member.name, hashlib.sha256()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.open("xb")
    except (FileExistsError, NotADirectoryError):
        raise _damaged(member.name, "a second file of that name") from None
    with file:
        while part := content.read(PART):
            sha256.update(part)
            file.write(part)
    return ReceivedFile(member.name, member.size, sha256.hexdigest())


def _verified(received: Mapping[str, ReceivedFile], sums: object) -> tuple[ReceivedFile, ...]:
    if not isinstance(sums, dict) or received.keys() != sums.keys():
        raise _damaged("the stream", "another list of files than the pod says it sent")
    for path, file in received.items():
        if file.sha256 != sums[path]:
            raise _damaged(path, f"SHA-256 {file.sha256}", f"{sums[path]}, as computed in the pod")
    return tuple(received.values())


def _damaged(where: str, found: str, expected: str = "plain files of the run, as the pod sent them") -> DamagedStream:
    return DamagedStream(where, found=found, expected=expected, remedy="Nothing was kept. Fetch again; if it stays so, ask who runs the cluster.")
