"""The tensors of a checkpoint: trained weights and optimizer state, in shards that torch.distributed.checkpoint loads into any number of ranks.

Frozen weights are not among them: the base is read from its own folder. Writing goes on in a thread while training does: the state is copied to the CPU first.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from medfinetune_api.errors import OutputConflict, StorageFailed
from torch import nn
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.planner import LoadPlan
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.optim import Optimizer

from medfinetune_trainer.artifacts.files import storage_errors

_TRAINED = StateDictOptions(ignore_frozen_params=True)
_TRAINED_PART = StateDictOptions(ignore_frozen_params=True, strict=False)
"""`strict=False` on loading: the frozen weights are missing by design. Missing trained ones raise in `load` all the same."""


def start_saving(folder: Path, module: nn.Module, optimizer: Optimizer, group: ProcessGroup | None) -> Future[Any]:
    """Copy this rank's trained weights and optimizer state, and let a thread write them to `folder`; training may go on. Collective.

    Args:
        folder: made by rank 0.
        group: over gloo and used by nothing else: collectives of two threads on one group would meet in another order on each rank. None without a gang.

    Returns:
        For `finish_saving` alone.
    """
    writing = async_save(_state(module, optimizer), checkpoint_id=folder, process_group=group)
    assert isinstance(writing, Future)  # it is something else only where the copy is made by a thread too
    return writing


def finish_saving(writing: Future[Any], folder: Path) -> None:
    """Wait until every rank's shards are on disk; `folder` is named where that fails, on every rank alike. Raises StorageFailed."""
    with storage_errors(folder, made=True):
        try:
            writing.result()
        except CheckpointException as error:  # every rank has it, whichever failed
            raise _cause_of_failed_save(folder, error) from error


def load_state(folder: Path, module: nn.Module, optimizer: Optimizer) -> None:
    """Read trained weights and optimizer state of any number of ranks into this one's. Collective.

    Raises OutputConflict where the checkpoint's tensors are not those that are trained here. StorageFailed.
    """
    state = _state(module, optimizer)
    with storage_errors(folder, made=True):
        try:
            load(state, checkpoint_id=folder, planner=_ExactPlanner())
        except CheckpointException as error:
            raise _cause_of_failed_load(folder, error) from error
    set_state_dict(module, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"], options=_TRAINED_PART)


class _ExactPlanner(DefaultLoadPlanner):
    """Refuses tensors that nothing here would receive; the default planner refuses missing ones and other shapes only."""

    def create_local_plan(self) -> LoadPlan:
        saved: Mapping[str, Any] = self.metadata.state_dict_metadata if self.metadata else {}
        if superfluous := saved.keys() - self.state_dict.keys():
            raise ValueError(f"{len(superfluous)} entries that are not trained here")
        return super().create_local_plan()


def _state(module: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    model_state, optimizer_state = get_state_dict(module, optimizer, options=_TRAINED)
    return {"model": model_state, "optimizer": optimizer_state}


def _cause_of_failed_save(folder: Path, error: CheckpointException) -> BaseException:
    """What went wrong on the first rank that failed; torch's zip writer tells of a full volume as positions in the file, without its errno."""
    first = _first(error)
    if isinstance(first, RuntimeError) and "inline_container" in str(first):
        return StorageFailed(
            str(folder),
            found="a shard that could not be written to its end",
            expected="a writable volume with space left",
            remedy="Make room, then start the run again; it continues from the newest complete checkpoint.",
        )
    return first


def _cause_of_failed_load(folder: Path, error: CheckpointException) -> BaseException:
    """Its hashes hold: whatever is not the volume's doing is a checkpoint of another model."""
    first = _first(error)
    if isinstance(first, OSError):
        return first
    remedy = "Continue with the version and the base that wrote it, or remove the run's checkpoints to start afresh."
    return OutputConflict(str(folder), found="other tensors than those trained here", expected="the same names and shapes", remedy=remedy)


def _first(error: CheckpointException) -> BaseException:
    first: BaseException = next(iter(error.failures.values()))[0]
    return first
