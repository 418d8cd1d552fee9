"""Where images are kept between runs, outside the clone, and who may use them now."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def folder(name: str) -> Path:
    """The cache's folder of that name, made where it is missing."""
    path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medfinetune" / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def store(generation: str) -> Path:
    """The folder for images of that generation, in place of any other: one holds 28 GB, nearly all of it the trainers' dependencies."""
    for other in folder("images").glob("store-*"):
        if other.name != f"store-{generation}":
            say(f"removing the images of earlier dependencies, {other}")
            shutil.rmtree(other)
    return folder(f"images/store-{generation}")


@contextmanager
def locked() -> Iterator[None]:
    """The images for oneself: containerd and the registry take no second process on the same files."""
    with (folder("images") / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another test run has the images: waiting for its end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(words: str) -> None:
    """Tell whoever waits what for."""
    sys.stderr.write(f"cluster.images: {words}\n")
    sys.stderr.flush()
