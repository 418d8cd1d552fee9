"""`lineage.json`: what a run was made from, and the SHA-256 of every file that it leaves. Evaluate writes it last: where it is, the stage is complete.

It lists what stays. What the purge takes (`output.retain` keeps nothing of it) is named by pattern, so that a purged run is whole; of `data/` the hashes
stay, as prepare wrote them. The report is in no list: it is made anew from the other files at any time. Nothing here is signed: whoever may write to the
folder may write another lineage. Keep the hash that `medfinetune verify` prints where the run's owner cannot write.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath

from medfinetune_api.base import Contract
from medfinetune_api.layout import UNFINISHED, RunFolder
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import Prepared
from medfinetune_api.scalars import Label, Seed, Sha256

from medfinetune_trainer.artifacts.fence import FENCE
from medfinetune_trainer.artifacts.files import sha256_file, write_text

PRODUCT = "medfinetune"
LIBRARIES = ("accelerate", "bitsandbytes", "datasets", "lm-eval", "peft", "safetensors", "tokenizers", "torch", "transformers")
IMAGE = "MEDFINETUNE_IMAGE"
"""Environment variable by which an executor tells the image that its pods run; unset elsewhere."""
UNLISTED = (FENCE, ".lock", ".run.lock", *UNFINISHED, "lineage.json", "report.html")
"""Of a run's folder: locks, what was never finished, this file, and what is made from the others."""


class MadeFrom(Contract):
    """What decides a run's outcome."""

    base_sha256: Sha256
    """Hash of the base's weights, as `spec.model.sha256` has it."""
    data: Mapping[str, Sha256]
    """SHA-256 of every file that prepare left in `data/`, by path below it: tokenised records, and which of them share a row in which epoch."""
    seed: Seed
    """Seed of everything random."""
    versions: Mapping[str, Label]
    """Version of the product, of Python and of the libraries that compute, by name; those of evaluate, where the stages had different ones."""
    image: str | None = None
    """The container image, where the executor has told it."""


class Lineage(Contract):
    """The content of `lineage.json`."""

    plan_sha256: Sha256
    """Hash of the plan, which names model, data, method and hyper-parameters."""
    made_from: MadeFrom
    """What decides the outcome besides the plan."""
    purged: tuple[str, ...]
    """Patterns, relative to the folder, of what goes once the run has ended."""
    files: Mapping[str, Sha256]
    """SHA-256 of every file that stays, by path relative to the folder."""


def lineage_of(plan: RunPlan, prepared: Prepared) -> Lineage:
    """The lineage of a run whose files are complete. Reads all that stays, about a second a GB. OSErrors of the volume."""
    folder = plan.folder
    purged = folder.purged(plan.output.retain)
    files = {path: sha256_file(folder.root / path) for path in paths(folder.root) if not is_under(path, (*purged, *UNLISTED))}
    made_from = MadeFrom(base_sha256=prepared.weights_sha256, data=_data(folder), seed=plan.training.seed, versions=versions(), image=os.environ.get(IMAGE))
    return Lineage(plan_sha256=plan.sha256, made_from=made_from, purged=purged, files=files)


def write(folder: RunFolder, lineage: Lineage) -> None:
    """Write `lineage.json`. Raises StorageFailed; OutputConflict as `fence.check`."""
    write_text(folder.lineage, json.dumps(json.loads(lineage.to_json()), indent=1, ensure_ascii=False) + "\n")


def paths(root: Path) -> Iterator[str]:
    """Every file and link below `root`, relative to it and in order; no link is followed."""
    for at, folders, files in os.walk(root):
        folders.sort()
        links = [name for name in folders if Path(at, name).is_symlink()]
        for name in sorted(files + links):
            yield Path(at, name).relative_to(root).as_posix()


def is_under(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether a path relative to the run's folder, or a folder above it, matches one of the patterns."""
    steps = PurePosixPath(path)
    ways = [str(way) for way in (steps, *steps.parents) if way != PurePosixPath()]
    return any(_matches(way, pattern) for way in ways for pattern in patterns)


def versions() -> dict[str, str]:
    """Of the product, Python and the libraries that compute; what is not installed is left out."""
    found = {PRODUCT: _version(PRODUCT), "python": platform.python_version()} | {name: _version(name) for name in LIBRARIES}
    return {name: number for name, number in found.items() if number}


def _matches(path: str, pattern: str) -> bool:
    """As `Path.glob` matches: `*` stays within one name."""
    names, parts = path.split("/"), pattern.split("/")
    return len(names) == len(parts) and all(map(fnmatchcase, names, parts))


def _data(folder: RunFolder) -> dict[str, str]:
    """What prepare wrote down of `data/`; nothing where the purge has removed it."""
    try:
        files: dict[str, str] = json.loads(folder.data_manifest.read_text(encoding="utf-8"))["files"]
    except (FileNotFoundError, ValueError, KeyError):
        return {}
    return files


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
