"""`checkpoints/step-N`: adapters and optimizer state, in shards that load into any number of ranks, and where training stood.

A checkpoint is written under a name of its attempt's own and takes its name once it is whole; it is complete when its `manifest.json` is there and the hashes
in it hold, and the newest complete one is what a run continues from. The manifest is written last, and taken away first where one is removed. Frozen weights
are not in it: the base is read from its own folder. Nor is a schedule or a random state: both are functions of the step and the seed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medfinetune_api.errors import OutputConflict, StorageFailed
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import Optimizer

from medfinetune_trainer.artifacts import fence
from medfinetune_trainer.artifacts.files import begin_folder, finish_folder, sha256_file, storage_errors, write_text

MANIFEST, POSITION = "manifest.json", "trainer.json"
_TRAINED = StateDictOptions(ignore_frozen_params=True)
_TRAINED_PART = StateDictOptions(ignore_frozen_params=True, strict=False)
"""`strict=False` on loading: the frozen weights are missing by design. Missing trained ones raise in `load` all the same."""


@dataclass(frozen=True)
class Position:
    """Where training stood: with the plan, all that is needed to go on."""

    plan_sha256: str
    step: int
    """Optimizer steps done: the next row is the first of the following step's window."""
    seed: int
    """Of every random state, together with step and micro-batch."""
    learning_rate: float
    """Of the last step; the next is computed."""
    loss_scale: float
    """Of FP16 training; 1 otherwise."""
    clean_steps: int
    """Steps since the loss scale last changed."""


def save_state(folder: Path, module: nn.Module, optimizer: Optimizer) -> None:
    """Write this rank's shards of trained weights and optimizer state to `folder`. Collective: returns when every rank's are on disk. Raises StorageFailed."""
    with storage_errors(folder):
        try:
            save(_state(module, optimizer), checkpoint_id=folder)
        except CheckpointException as error:  # every rank has it, whichever failed
            raise _cause(folder, error) from error


def load_state(folder: Path, module: nn.Module, optimizer: Optimizer) -> None:
    """Read trained weights and optimizer state of any number of ranks into this one's. Collective."""
    state = _state(module, optimizer)
    load(state, checkpoint_id=folder)
    set_state_dict(module, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"], options=_TRAINED_PART)


def begin(folder: Path) -> Path:
    """Make an empty folder to write the checkpoint `folder` into. What a killed attempt left unfinished goes. Rank 0 calls it.

    Raises StorageFailed; OutputConflict as `fence.check`.
    """
    with storage_errors(folder):
        unfinished = begin_folder(folder)
        for left in folder.parent.glob(".step-*"):
            if left != unfinished:
                shutil.rmtree(left, ignore_errors=True)
    return unfinished


def complete(unfinished: Path, folder: Path, position: Position) -> None:
    """Make the checkpoint count: position, then the manifest of all files' hashes, then its name. Rank 0 calls it once every rank has saved.

    Raises StorageFailed; OutputConflict as `fence.check`.
    """
    write_text(unfinished / POSITION, json.dumps(asdict(position)))
    with storage_errors(folder):
        hashes = {str(file.relative_to(unfinished)): sha256_file(file) for file in sorted(unfinished.rglob("*")) if file.is_file()}
        write_text(unfinished / MANIFEST, json.dumps({"step": position.step, "sha256": hashes}, indent=1))
        finish_folder(unfinished, folder)


def discard(unfinished: Path) -> None:
    """Remove a checkpoint that could not be written to its end."""
    shutil.rmtree(unfinished, ignore_errors=True)


def newest(checkpoints: Path, plan_sha256: str) -> tuple[Path, Position] | None:
    """The newest complete checkpoint and its position; None where there is none. Raises OutputConflict where it belongs to another plan."""
    for folder in _newest_first(checkpoints):
        if is_complete(folder):
            position = Position(**json.loads((folder / POSITION).read_text(encoding="utf-8")))
            _check_plan(folder, position.plan_sha256, plan_sha256)
            return folder, position
    return None


def is_complete(folder: Path) -> bool:
    """True where the manifest is there and every file it names has the hash it names."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return all(sha256_file(folder / name) == digest for name, digest in manifest["sha256"].items())
    except (OSError, ValueError, KeyError):
        return False


def prune(checkpoints: Path, keep: int) -> None:
    """Remove all but the `keep` newest checkpoints, whose newest has just been completed; torn ones older than it too. Raises StorageFailed."""
    fence.check()
    sealed = [folder for folder in _newest_first(checkpoints) if (folder / MANIFEST).exists()][:keep]
    with storage_errors(checkpoints):
        for folder in _newest_first(checkpoints):
            if folder not in sealed:
                _remove(folder)


def _state(module: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    model_state, optimizer_state = get_state_dict(module, optimizer, options=_TRAINED)
    return {"model": model_state, "optimizer": optimizer_state}


def _cause(folder: Path, error: CheckpointException) -> BaseException:
    """What went wrong on the first rank that failed; torch's zip writer tells of a full volume as positions in the file, without its errno."""
    first: BaseException = next(iter(error.failures.values()))[0]
    if isinstance(first, RuntimeError) and "inline_container" in str(first):
        return StorageFailed(
            str(folder),
            found="a shard that could not be written to its end",
            expected="a writable volume with space left",
            remedy="Make room, then start the run again; it continues from the newest complete checkpoint.",
        )
    return first


def _newest_first(checkpoints: Path) -> Iterator[Path]:
    numbered = {int(suffix): folder for folder in checkpoints.glob("step-*") if (suffix := folder.name.removeprefix("step-")).isdecimal()}
    return (numbered[step] for step in sorted(numbered, reverse=True))


def _check_plan(folder: Path, found: str, expected: str) -> None:
    if found != expected:
        raise OutputConflict(
            str(folder),
            found=f"a checkpoint of plan {found[:12]}",
            expected=f"one of plan {expected[:12]}",
            remedy="Another experiment is another run: give it a name of its own, or remove this folder to start afresh.",
        )


def _remove(folder: Path) -> None:
    if folder.exists():
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder)
