"""`checkpoints/step-N`: when a checkpoint counts, and which one a run continues from.

It is written under a name of its attempt's own and takes its name once it is whole; it is complete when its `manifest.json` is there and the hashes in it
hold, and the newest complete one is what a run continues from. The manifest is written last; one that is removed loses its name first. Tensors are in
shards (`artifacts/state.py`), all else in `trainer.json`. Neither holds a schedule or a random state: both are functions of the step and the seed.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from medfinetune_api.errors import OutputConflict
from pydantic import BaseModel, ConfigDict, Field

from medfinetune_trainer.artifacts import fence
from medfinetune_trainer.artifacts.files import begin_folder, finish_folder, remove_folder, sha256_file, storage_errors, write_text

MANIFEST, POSITION = "manifest.json", "trainer.json"
DCP_INDEX, DCP_SHARD = ".metadata", ".distcp"
_TEARS = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO, errno.ELOOP, errno.ENAMETOOLONG}
"""What the kernel says of a damaged checkpoint; anything else is said of a volume that cannot be read, and skipping the checkpoint would lose work."""


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, ser_json_inf_nan="constants")


class Position(_Stored):
    """Where training stood: with the plan and the tensors, all that is needed to go on. The content of `trainer.json`."""

    plan_sha256: str
    step: int = Field(ge=1)
    """Optimizer steps done: the next row is the first of the following step's window."""
    states: dict[str, dict[str, Any]] = {}
    """What the `state_dict()` of each part of the trainer that remembers something returned, by the part's name; JSON."""


class Manifest(_Stored):
    """The content of `manifest.json`."""

    step: int
    sha256: dict[str, str]
    """SHA-256 in hex of every other file, by its path in the checkpoint."""


def begin(folder: Path) -> Path:
    """Make an empty folder to write the checkpoint `folder` into. What a killed attempt left unfinished goes. Rank 0 calls it.

    Raises StorageFailed, also where the run folder has vanished: none is made in its place. OutputConflict as `fence.check`.
    """
    with storage_errors(folder, made=True):
        folder.parent.mkdir(exist_ok=True)
        unfinished = begin_folder(folder)
        for left in folder.parent.glob(".step-*"):
            if left != unfinished:
                shutil.rmtree(left, ignore_errors=True)
    return unfinished


def complete(unfinished: Path, folder: Path, position: Position) -> None:
    """Make the checkpoint count: position, then the manifest of all files' hashes, then its name. Rank 0 calls it once every rank's shards are on disk.

    Raises StorageFailed; OutputConflict as `fence.check`.
    """
    with storage_errors(folder, made=True):
        write_text(unfinished / POSITION, position.model_dump_json())
        hashes = {str(file.relative_to(unfinished)): sha256_file(file) for file in sorted(unfinished.rglob("*")) if file.is_file()}
        write_text(unfinished / MANIFEST, Manifest(step=position.step, sha256=hashes).model_dump_json(indent=1))
        finish_folder(unfinished, folder)


def discard(unfinished: Path) -> None:
    """Remove a checkpoint that could not be written to its end."""
    shutil.rmtree(unfinished, ignore_errors=True)


def newest(checkpoints: Path, plan_sha256: str) -> tuple[Path, Position] | None:
    """The newest complete checkpoint and its position; None where there is none.

    Raises OutputConflict where it belongs to another plan. StorageFailed where the volume cannot be read.
    """
    with storage_errors(checkpoints):
        for folder in _newest_first(checkpoints):
            position = read(folder)
            if position is not None:
                _check_plan(folder, position.plan_sha256, plan_sha256)
                return folder, position
    return None


def read(folder: Path) -> Position | None:
    """The position of a complete checkpoint; None where anything in it is not what its manifest says, or its name is not its step's. OSErrors of a volume."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        position = Position.model_validate_json((folder / POSITION).read_bytes())
        whole = _names_all(manifest.sha256) and all(_has(folder / name, digest) for name, digest in manifest.sha256.items())
        return position if whole and folder.name == f"step-{manifest.step}" and manifest.step == position.step else None
    except ValueError:  # no JSON, other fields than expected, a name that no file can have
        return None
    except OSError as error:
        if error.errno in _TEARS:
            return None
        raise


def _names_all(files: Iterable[str]) -> bool:
    """Whether a manifest names what every checkpoint has: its position, torch's index of the shards, and a shard."""
    return {POSITION, DCP_INDEX} <= set(files) and any(name.endswith(DCP_SHARD) for name in files)


def prune(checkpoints: Path, step: int, keep: int) -> None:
    """Leave the checkpoint of `step`, just completed, and the newest before it: `keep` in all. Raises StorageFailed; OutputConflict as `fence.check`.

    Later ones were torn when the run continued from before them, and go.
    """
    fence.check()
    present = list(_newest_first(checkpoints))
    kept = [folder for folder in present if _step(folder) <= step and (folder / MANIFEST).exists()][:keep]
    with storage_errors(checkpoints):
        for folder in present:
            if folder not in kept and (folder.is_dir() or folder.is_symlink()):
                remove_folder(folder)


def _newest_first(checkpoints: Path) -> Iterator[Path]:
    named = [folder for folder in checkpoints.glob("step-*") if folder.name.removeprefix("step-").isdecimal() and folder.name == f"step-{_step(folder)}"]
    return iter(sorted(named, key=_step, reverse=True))


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _has(file: Path, digest: str) -> bool:
    return file.is_file() and sha256_file(file) == digest


def _check_plan(folder: Path, found: str, expected: str) -> None:
    if found != expected:
        raise OutputConflict(
            str(folder),
            found=f"a checkpoint of plan {found[:12]}",
            expected=f"one of plan {expected[:12]}",
            remedy="Another experiment is another run: give it a name of its own, or remove this folder to start afresh.",
        )
