"""Write whole or not at all: every artifact appears under its name only once it is complete and on disk, and only while its attempt is the newest."""

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

from medfinetune_trainer.artifacts import fence
from medfinetune_trainer.telemetry.heartbeat import beat

_VOLUME_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN}
_HASHED_AT_ONCE = 1 << 24
_GONE_ERRNOS = {errno.ENOENT, errno.ENOTDIR}


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` (UTF-8) atomically. Raises StorageFailed where the volume is full, read-only or gone; OutputConflict as `fence.check`."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(path)
        try:
            temporary.write_text(text, encoding="utf-8")
            _sync(temporary)
            fence.check()
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its name when the block ends without an error, and is removed otherwise.

    Raises StorageFailed where the volume is full, read-only or gone; OutputConflict as `fence.check`.
    """
    with storage_errors(path):
        temporary = begin_folder(path)
        try:
            yield temporary
            finish_folder(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def begin_folder(path: Path) -> Path:
    """Make an empty folder beside `path`, under a name that shows it as unfinished. Raises OutputConflict as `fence.check`."""
    fence.check()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    temporary.mkdir()
    return temporary


def finish_folder(temporary: Path, path: Path) -> None:
    """Give what `begin_folder(path)` made its name. An earlier folder of that name is replaced, and stands until then. Raises OutputConflict.

    What lies in it may be read by whom the umask lets, though a library wrote it for its owner alone: an adapter is served by others.
    """
    mode = stat.S_IMODE(temporary.stat().st_mode)  # the umask, without changing it for other threads to ask
    for file in temporary.rglob("*"):
        file.chmod(mode if file.is_dir() else mode & 0o666)
        _sync(file)
    _sync(temporary)
    fence.check()
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
    temporary.rename(path)
    _sync(path.parent)


def rename_folder(path: Path, name: Path) -> None:
    """Give a finished folder another name on the same volume: it is under either at any moment. Raises StorageFailed; OutputConflict as `fence.check`."""
    with storage_errors(name):
        fence.check()
        path.rename(name)
        _sync(name.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder that nobody may see half removed: it loses its name first. Of a link, the link goes, and what it names stays."""
    if path.is_symlink():
        path.unlink()
        return
    unnamed = _beside(path)
    path.rename(unnamed)
    shutil.rmtree(unnamed)


def remove_unfinished(path: Path) -> None:
    """Remove what `new_folder(path)` leaves beside `path` when its process is killed. For the one process that may write there."""
    for unfinished in path.parent.glob(f".{path.name}.*"):
        shutil.rmtree(unfinished, ignore_errors=True)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; the heart beats meanwhile."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_HASHED_AT_ONCE):
            digest.update(part)
            beat()
    return digest.hexdigest()


@contextmanager
def storage_errors(path: Path, *, made: bool = False) -> Iterator[None]:
    """Turn an OSError that the volume caused into StorageFailed; any other passes. With `made`, all that is missing was there before: the volume lost it."""
    try:
        yield
    except OSError as error:
        failure = storage_failure(error, str(path), made=made)
        if failure is None:
            raise
        raise failure from error


def storage_failure(error: OSError, where: str, *, made: bool = False) -> StorageFailed | None:
    """What `error` says of the volume; None where the volume did not cause it. `made` as in `storage_errors`."""
    if error.errno not in _VOLUME_ERRNOS | (_GONE_ERRNOS if made else set()):
        return None
    remedy = "Mend the volume (space, quota, file size limit, permissions), then start the run again; it continues."
    return StorageFailed(where, found=os.strerror(error.errno), expected="a writable volume with space left", remedy=remedy)


def _beside(path: Path) -> Path:
    """A name of its own in the same folder, `.name.` and eight more: pods have equal process numbers."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
