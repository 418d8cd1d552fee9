"""What the node runs: pause, a Debian base, and the product's two images built from its own Dockerfiles."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from cluster.images import cache
from cluster.images.build import Images, content
from cluster.images.pause import pause_folder

_CLONE = Path(__file__).parents[3]
_SUITE, _PACKAGES = "bookworm", "python3,python3-venv,ca-certificates"
_CODE = ("pyproject.toml", "README.md", "LICENSE", "crds", "trainer", "cli", "operator", "packaging/inventory.py", "packaging/licenses.toml")


def generation() -> str:
    """What the trainer's large layer is made from: images of another generation have little in common with these."""
    return content([_CLONE / "locks" / "build.txt", _CLONE / "locks" / "trainer.txt"], _SUITE, _PACKAGES)


def pause(images: Images) -> str:
    """The image that holds a pod's namespaces."""
    folder = pause_folder()
    return images.built("medfinetune/pause", content([folder]), 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n', folder)


def trainer(images: Images) -> str:
    """The training pods' image, from Dockerfile.trainer."""
    return _product(images, "trainer")


def operator(images: Images) -> str:
    """The operator's image, from Dockerfile.operator."""
    return _product(images, "operator")


def _product(images: Images, part: str) -> str:
    dockerfile = _CLONE / f"Dockerfile.{part}"
    locks = [_CLONE / "locks" / f"{name}.txt" for name in ("build", "init", "inventory", part)]
    base, tag = _base(images), content([dockerfile, *locks, *(_CLONE / name for name in _CODE)])
    return images.built(f"medfinetune/{part}", tag, dockerfile.read_text(), _CLONE, {"BASE_IMAGE": base})


def _base(images: Images) -> str:
    """Debian with Python, by debootstrap: no public image can be pulled where there are only package registries."""
    tag = content([], _SUITE, _PACKAGES)
    root = cache.folder("images") / f"base-{tag}"
    if not root.exists():
        cache.say("making a base image with debootstrap")
        unfinished = root.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        command: list[str | Path] = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, unfinished]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        unfinished.rename(root)
    images.built("medfinetune/base", tag, "FROM scratch\nCOPY . /\n", root)
    return f"localhost/medfinetune/base:{tag}"
