"""Whose the run folder is: one plan's, and one live attempt's.

On a cluster the attempt's number in the folder decides (`artifacts/fence.py`); elsewhere a lock that ends with the process that holds it. In a gang of several
nodes the node of rank 0 (PET_NODE_RANK) speaks for all.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from medfinetune_api.choices import Stage
from medfinetune_api.errors import InvalidManifest, OutputConflict
from medfinetune_api.plan import RunPlan
from pydantic import ValidationError

from medfinetune_trainer.artifacts import fence

LOCK = ".lock"
"""Name of the lock file in a run folder; it stays, the lock ends with the process that holds it."""


def load_plan(path: Path) -> RunPlan:
    """The RunPlan in `path`. Raises InvalidManifest naming the file and its first wrong field."""
    remedy = "Let `medfinetune run` or the operator write the plan; it is not edited by hand."
    try:
        return RunPlan.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidManifest(str(path), found=os.strerror(error.errno or 0), expected="a readable RunPlan in JSON", remedy=remedy) from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        where = f"{path}:{field}" if field else str(path)
        raise InvalidManifest(where, found=f"{first['msg']} ({error.error_count()} in all)", expected="a RunPlan of version v1alpha1", remedy=remedy) from error


@contextmanager
def held(plan: RunPlan, stage: Stage) -> Iterator[None]:
    """The run folder, made if it is missing, held by this plan and, on the main node, by this attempt or process alone. Raises OutputConflict.

    Also a purge that finds nothing makes it, for the number of its attempt: nothing may write there later.
    """
    root = plan.folder.root
    root.mkdir(parents=True, exist_ok=True)
    with fence.fenced(root, stage) as numbered, nullcontext() if numbered else _locked(root):
        if node_rank() == 0:
            fence.check()
        _check_owner(plan)
        yield


def node_rank() -> int:
    """Number of this node in its gang, from 0."""
    return int(os.environ.get("PET_NODE_RANK", "0"))


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    with (root / LOCK).open("w") as lock:
        if node_rank() == 0:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                remedy = "Wait until it has ended, or stop it."
                raise OutputConflict(str(root), found="another live run that holds this folder", expected="one run a folder", remedy=remedy) from error
        yield


def _check_owner(plan: RunPlan) -> None:
    file = plan.folder.plan
    if not file.exists():
        return
    try:
        owner = load_plan(file).sha256[:12]
    except InvalidManifest as error:
        remedy = "The file is damaged: restore it, or remove this run's folder to start afresh."
        raise OutputConflict(str(file), found="a plan that cannot be read", expected=f"plan {plan.sha256[:12]}", remedy=remedy) from error
    if owner != plan.sha256[:12]:
        remedy = "Give this run another name or output folder; another experiment is another run."
        raise OutputConflict(str(file), found=f"plan {owner}", expected=f"plan {plan.sha256[:12]}", remedy=remedy)
