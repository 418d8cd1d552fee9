"""What the node runs: pause, Debian bases, and the product's images built from its own Dockerfiles."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from cluster.images import cache
from cluster.images.build import Images, content
from cluster.images.pause import pause_folder

_CLONE = Path(__file__).parents[3]
_SUITE, _PACKAGES = "bookworm", "python3,python3-venv,ca-certificates"
_CPU_SUITE, _CPU_ARGUMENTS = "forky", {"PYTHON": "3.14", "LOCK": "trainer-cpu", "VENV_OPTIONS": "--system-site-packages"}
_CODE = ("pyproject.toml", "README.md", "LICENSE", "crds", "trainer", "cli", "operator", "packaging/inventory.py", "packaging/licenses.toml")


def generation() -> str:
    """What the trainer's large layer is made from: images of another generation have little in common with these."""
    steps = _dockerfile("trainer").split("\nFROM ")
    (environment,) = [step for step in steps if " AS environment\n" in step]
    return content([_CLONE / "locks" / "build.txt", _CLONE / "locks" / "trainer.txt"], _SUITE, _PACKAGES, environment)


def pause(images: Images) -> str:
    """The image that holds a pod's namespaces."""
    folder = pause_folder()
    return images.built("medfinetune/pause", content([folder]), 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n', folder)


def trainer(images: Images) -> str:
    """The training pods' image, from Dockerfile.trainer."""
    return _product(images, "trainer", _debian(images, _SUITE, _PACKAGES))


def trainer_cpu(images: Images) -> str:
    """The same without CUDA, as `make images VARIANT=cpu` builds it."""
    debian = _debian(images, _CPU_SUITE, "ca-certificates")
    base = _base(images, "medfinetune/base-cpu", content([], _dockerfile("base-cpu"), debian), _dockerfile("base-cpu"), _CLONE, BASE_IMAGE=debian)
    return _product(images, "trainer", base, "trainer-cpu", **_CPU_ARGUMENTS)


def operator(images: Images) -> str:
    """The operator's image, from Dockerfile.operator."""
    return _product(images, "operator", _debian(images, _SUITE, _PACKAGES))


def _product(images: Images, part: str, base: str, lock: str = "", **arguments: str) -> str:
    name, text = lock or part, _dockerfile(part)
    locks = [_CLONE / "locks" / f"{each}.txt" for each in ("build", "init", "inventory", name)]
    tag = content([*locks, *(_CLONE / each for each in _CODE)], text, base, *arguments.values())
    return images.built(f"medfinetune/{name}", tag, text, _CLONE, {"BASE_IMAGE": base, **arguments})


def _dockerfile(name: str) -> str:
    return (_CLONE / f"Dockerfile.{name}").read_text()


def _debian(images: Images, suite: str, packages: str) -> str:
    """Debian with these packages, by debootstrap: no public image can be pulled where there are only package registries."""
    tag = content([], suite, packages)
    root = cache.folder("images") / f"base-{tag}"
    if not root.exists():
        cache.say(f"making a base image of Debian {suite} with debootstrap")
        unfinished = root.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        # By the script of all newer releases, from the default mirror: debootstrap may be older than the release.
        command: list[str | Path] = ["debootstrap", "--variant=minbase", f"--include={packages}", suite, unfinished, "", "sid"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        unfinished.rename(root)
    return _base(images, "medfinetune/base", tag, "FROM scratch\nCOPY . /\n", root)


def _base(images: Images, name: str, tag: str, dockerfile: str, context: Path, **arguments: str) -> str:
    """Its name for a build: buildah finds it in its own store."""
    images.built(name, tag, dockerfile, context, arguments)
    return f"localhost/{name}:{tag}"
