"""The program that holds a pod's namespaces, and a node's: built by the C compiler in a moment, as the one everybody pulls cannot be pulled here."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from cluster.images import cache

_SOURCE = Path(__file__).with_name("pause.c")


def pause_folder() -> Path:
    """A folder that holds nothing but the static program `pause`: the whole content of its image. Raises CalledProcessError without a C compiler."""
    kept = cache.folder("images") / f"pause-{hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:16]}"
    if not (kept / "pause").exists():
        kept.mkdir(exist_ok=True)
        unfinished = kept.with_name(f"{kept.name}.{os.getpid()}")
        subprocess.run(["cc", "-static", "-Os", "-Wall", "-Werror", "-o", unfinished, _SOURCE], check=True)
        unfinished.replace(kept / "pause")
    return kept
