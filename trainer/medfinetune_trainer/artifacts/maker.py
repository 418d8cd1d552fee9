"""Who and what works on a run: the requester, the product's own code, the libraries that compute, the image. As this process sees them."""

from __future__ import annotations

import hashlib
import os
import platform
import pwd
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from medfinetune_api.base import Contract
from medfinetune_api.scalars import PRINTABLE
from medfinetune_api.unseen import visible
from pydantic import Field

PRODUCT = "medfinetune"
LIBRARIES = ("accelerate", "bitsandbytes", "datasets", "lm-eval", "peft", "safetensors", "tokenizers", "torch", "transformers")
CODE = ("medfinetune_api", "medfinetune_trainer")
"""Packages whose modules decide what becomes of a run; command line and operator only start it."""
IMAGE = "MEDFINETUNE_IMAGE"
"""Environment variable by which an executor tells the image that its pods run; unset elsewhere."""
REQUESTER, VERIFIED = "MEDFINETUNE_REQUESTER", "MEDFINETUNE_REQUESTER_VERIFIED"
"""Environment variables by which an executor tells who asked for the run, and with `true` that an admission policy has proved it."""
UNKNOWN = "unknown"


class Requester(Contract):
    """Who asked for the run."""

    name: Annotated[str, Field(min_length=1, max_length=512, pattern=PRINTABLE)]
    """The name that the cluster knows; without a cluster, the user of the process."""
    verified: bool
    """Whether an admission policy proved the name. A name without it is a claim."""


def requester() -> Requester:
    """As the executor tells it: an empty name is unknown, and proves nothing. Where no executor speaks, the user of this process, unverified."""
    told = os.environ.get(REQUESTER)
    if told is None:
        return Requester(name=_printable(user()), verified=False)
    return Requester(name=_printable(told or UNKNOWN), verified=bool(told) and os.environ.get(VERIFIED) == "true")


def user() -> str:
    """The name of this process' user, or its number where it has none, as in most pods."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def image() -> str | None:
    """The container image, where the executor has told it."""
    return os.environ.get(IMAGE)


@cache
def code_sha256() -> str:
    """SHA-256 over the modules of `CODE` as installed: each one's path and the hash of its bytes, in order of the paths."""
    digest = hashlib.sha256()
    for package in CODE:
        root = Path(find_spec(package).submodule_search_locations[0])  # type: ignore[union-attr,index]  # it is installed: this module is a part of it
        for module in sorted(root.rglob("*.py")):
            digest.update(f"{package}/{module.relative_to(root).as_posix()} {hashlib.sha256(module.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Of the product, Python and the libraries that compute; what is not installed is left out."""
    found = {PRODUCT: _version(PRODUCT), "python": platform.python_version()} | {name: _version(name) for name in LIBRARIES}
    return {name: number for name, number in found.items() if number}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _printable(name: str) -> str:
    return visible(name).replace("\n", " ")[:512]
