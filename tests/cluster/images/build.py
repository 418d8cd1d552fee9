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

from cluster.images import cache
from cluster.images.registry import PORT, answers

_CERTIFICATES = "/etc/ssl/certs"


def content(paths: Iterable[Path], *more: str) -> str:
    """A tag: the hash of names and contents of `paths`, folders with all that is in them, and of `more`."""
    digest = hashlib.sha256("\0".join(more).encode())
    for path in paths:
        files = sorted(each for each in path.rglob("*") if each.is_file() and "__pycache__" not in each.parts) if path.is_dir() else [path]
        for file in files:
            digest.update(f"{file.relative_to(path.parent)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


class Images:
    """The images in the registry at `address`: `name:tag` there, `localhost:5000/name:tag` for a pod."""

    def __init__(self, address: str) -> None:
        self._address = f"{address}:{PORT}"

    def built(self, name: str, tag: str, dockerfile: Path | str, context: Path, arguments: Mapping[str, str] | None = None) -> str:
        """Build and push the image unless the registry has it; return its name for a pod. `dockerfile` is a file or its text."""
        if not answers(f"http://{self._address}/v2/{name}/manifests/{tag}"):
            start = time.monotonic()
            cache.say(f"building {name}:{tag}")
            self._build(f"localhost/{name}:{tag}", dockerfile, context, arguments or {})
            compression = ["--compression-format", "zstd", "--compression-level", "1"]
            buildah("push", "--quiet", "--tls-verify=false", *compression, f"localhost/{name}:{tag}", f"docker://{self._address}/{name}:{tag}")
            cache.say(f"built {name}:{tag} in {time.monotonic() - start:.0f} s")
        return f"localhost:{PORT}/{name}:{tag}"

    @staticmethod
    def _build(reference: str, dockerfile: Path | str, context: Path, arguments: Mapping[str, str]) -> None:
        text = dockerfile if isinstance(dockerfile, str) else dockerfile.read_text()
        given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        # The machine's certificates, so that a build behind a proxy with a certificate of its own reaches the package index.
        options = ["--network=host", "--isolation=chroot", "--layers", f"--volume={_CERTIFICATES}:{_CERTIFICATES}:ro", *given]
        buildah("bud", "--quiet", *options, "--file=/dev/stdin", f"--tag={reference}", context, input=text)


def buildah(command: str, *arguments: str | Path, input: str | None = None) -> None:
    """Run buildah on the cache's own storage, in the background of other work. Raises AssertionError with its words where it fails."""
    home = cache.folder("images/buildah")
    storage = [f"--root={home / 'storage'}", f"--runroot={home / 'run'}", "--storage-driver=overlay"]
    # A layer passes through TMPDIR, and /tmp may be small or in memory.
    environment = os.environ | {"TMPDIR": str(cache.folder("images/tmp"))}
    line = ["nice", "-n", "10", "buildah", *storage, command, *arguments]
    done = subprocess.run(line, input=input, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, f"buildah {command} ended with {done.returncode}\n{done.stdout[-4000:]}"
