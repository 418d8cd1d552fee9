"""Write whole or not at all: every artifact appears under its name only once it is complete and on disk."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medfinetune_api.errors import StorageFailed

_VOLUME_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN}


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` (UTF-8) atomically. Raises StorageFailed where the volume is full, read-only or gone."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _sibling(path)
        temporary.write_text(text, encoding="utf-8")
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its name when the block ends without an error, and is removed otherwise.

    An earlier folder of that name is replaced, and stands until then. What lies in it may be read by whom the umask lets, though a library wrote it for its
    owner alone: an adapter is served by others. Raises StorageFailed where the volume is full, read-only or gone.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        temporary.mkdir()
        try:
            yield temporary
            mode = stat.S_IMODE(temporary.stat().st_mode)  # the umask, without changing it for other threads to ask
            for file in temporary.rglob("*"):
                file.chmod(mode if file.is_dir() else mode & 0o666)
                _sync(file)
            _sync(temporary)
            if path.exists():
                shutil.rmtree(path)
            temporary.rename(path)
            _sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def remove_unfinished(path: Path) -> None:
    """Remove what `new_folder(path)` leaves beside `path` when its process is killed. For the one process that may write there."""
    for unfinished in path.parent.glob(f".{path.name}.*"):
        shutil.rmtree(unfinished, ignore_errors=True)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError that the volume caused into StorageFailed; any other passes."""
    try:
        yield
    except OSError as error:
        failure = storage_failure(error, str(path))
        if failure is None:
            raise
        raise failure from error


def storage_failure(error: OSError, where: str) -> StorageFailed | None:
    """What `error` says of the volume; None where the volume did not cause it."""
    if error.errno not in _VOLUME_ERRNOS:
        return None
    remedy = "Mend the volume (space, quota, file size limit, permissions), then start the run again; it continues."
    return StorageFailed(where, found=os.strerror(error.errno), expected="a writable volume with space left", remedy=remedy)


def _sibling(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
