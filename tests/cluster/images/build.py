"""Images for the node, built by buildah into the registry, each once for each content.

An image's tag is the hash of what decides it; one that the registry has under its tag is not built again.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from cluster.images import cache
from cluster.images.registry import PORT, answers

_MACHINES = ("/etc/ssl/certs", "/etc/apt/apt.conf.d")
"""Certificates and apt's settings, so that a build behind a proxy or a mirror of the site's own reaches what this machine reaches."""


def content(paths: Iterable[Path], *more: str) -> str:
    """A tag: the hash of names and contents of `paths`, folders with all that is in them, and of `more`."""
    digest = hashlib.sha256("\0".join(more).encode())
    for path in paths:
        files = sorted(each for each in path.rglob("*") if each.is_file() and "__pycache__" not in each.parts) if path.is_dir() else [path]
        for file in files:
            digest.update(f"{file.relative_to(path.parent)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


class Images:
    """The images in the registry at `address`: `name:tag` there, `localhost:5000/name:tag` for a pod. buildah keeps its layers in `store`."""

    def __init__(self, address: str, store: Path) -> None:
        self.address, self._store = f"{address}:{PORT}", store

    def built(self, name: str, tag: str, dockerfile: str, context: Path, arguments: Mapping[str, str] | None = None) -> str:
        """Build and push the image unless the registry has it; return its name for a pod. `dockerfile` is its text."""
        if not answers(f"http://{self.address}/v2/{name}/manifests/{tag}"):
            start = time.monotonic()
            cache.say(f"building {name}:{tag}; only with new dependencies it takes minutes")
            self._build(f"localhost/{name}:{tag}", dockerfile, context, arguments or {})
            compression = ["--compression-format", "zstd", "--compression-level", "1"]
            self._buildah("push", "--quiet", "--tls-verify=false", *compression, f"localhost/{name}:{tag}", f"docker://{self.address}/{name}:{tag}")
            cache.say(f"built {name}:{tag} in {time.monotonic() - start:.0f} s")
        return f"localhost:{PORT}/{name}:{tag}"

    def _build(self, reference: str, dockerfile: str, context: Path, arguments: Mapping[str, str]) -> None:
        given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        mounted = [f"--volume={folder}:{folder}:ro" for folder in _MACHINES]
        options = ["--network=host", "--isolation=chroot", "--layers", *mounted, *given]
        self._buildah("bud", "--quiet", *options, "--file=/dev/stdin", f"--tag={reference}", context, input=dockerfile)

    def _buildah(self, command: str, *arguments: str | Path, input: str | None = None) -> None:
        """Run buildah. Raises AssertionError with its words where it fails."""
        # A layer passes through TMPDIR, and /tmp may be small or in memory.
        with TemporaryDirectory(dir=self._store) as temporary:
            # buildah leaves mounts behind, and notes of them in its run folder: in a mount namespace of its own both end with it.
            line = ["unshare", "--mount", "buildah", f"--root={self._store / 'buildah'}", f"--runroot={temporary}/run"]
            line += ["--storage-driver=overlay", command, *map(str, arguments)]
            environment = os.environ | {"TMPDIR": temporary}
            done = subprocess.run(line, input=input, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert done.returncode == 0, f"buildah {command} ended with {done.returncode}\n{done.stdout[-4000:]}"
