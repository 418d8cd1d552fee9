"""Programs of Debian packages for tests, without root and without their services: found in PATH, else unpacked from the package into the cache.

The package comes from the machine's own apt, whose signatures it checks; nothing of it is installed and none of its scripts run. Ahead of the tests:
`PYTHONPATH=tests python -m cluster.debian [NAME ...]`, by default all of them.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cluster.programs import _cache, _locked, _say

PACKAGES = {"prometheus": "prometheus", "promtool": "prometheus"}
"""The package that carries a program. These need nothing of what their package depends on but the C library."""


@functools.cache
def debian_program(name: str) -> Path:
    """The executable `name`. Raises KeyError for a name not in PACKAGES, RuntimeError with apt's words and what to do if it cannot be had."""
    package = PACKAGES[name]
    if found := shutil.which(name):
        return Path(found)
    archive = _offered(package)
    kept = _cache() / archive.removesuffix(".deb")
    if not kept.is_dir():
        with _locked():
            if not kept.is_dir():
                _unpack(package, archive, kept)
    return kept / "usr" / "bin" / name


def _offered(package: str) -> str:
    """The file that apt would fetch, such as prometheus_2.42.0+ds-5_amd64.deb: it names the version and the architecture."""
    words = _apt("download", "--print-uris", package).split()
    return words[1]


def _unpack(package: str, archive: str, kept: Path) -> None:
    _say(f"unpacking Debian's package {package} ({archive}) into {kept}")
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix="debian-") as work:
        _apt("download", package, folder=work)
        fetched = next(Path(work).glob("*.deb"))
        unfinished = Path(work, "unpacked")
        _run(["dpkg-deb", "-x", str(fetched), str(unfinished)], work)
        unfinished.rename(kept)


def _apt(*arguments: str, folder: str = ".") -> str:
    # As root apt would fetch as a user of its own, who may not write into a private folder.
    try:
        return _run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", *arguments], folder)
    except (OSError, RuntimeError) as error:
        package = arguments[-1]
        remedy = f"put its programs into PATH, or on Debian run `apt-get update` as root (or `apt-get install {package}`) and try again"
        raise RuntimeError(f"Debian's package {package} cannot be fetched; {remedy}: {error}") from error


def _run(command: list[str], folder: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


if __name__ == "__main__":
    for wanted in sys.argv[1:] or PACKAGES:
        _say(f"{wanted}: {debian_program(wanted)}")
