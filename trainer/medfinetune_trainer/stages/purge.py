"""Purge: remove from the run's folder what is not to stay, once the run has ended in whatever way.

Data and samples are copies of record text; checkpoints are only of use to a run that goes on. What `output.retain` does not name of them goes, and always what
killed stages left unfinished. Adapter, results and summary, metrics, plan and prepared.json stay. No link is followed: one is removed, or refused where it
stands for a folder that holds other things too. Killed half-way, it is started again and removes the rest.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from medfinetune_api.choices import Stage
from medfinetune_api.errors import OutputConflict
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import StageResult

from medfinetune_trainer.artifacts import fence
from medfinetune_trainer.artifacts.files import storage_errors
from medfinetune_trainer.telemetry.log import say


def run(plan: RunPlan) -> StageResult:
    """Remove what is not to stay. Raises OutputConflict where a folder of the run is a link; StorageFailed where the volume refuses."""
    root = plan.folder.root
    for folder in (root, plan.folder.evaluation, plan.folder.checkpoints):
        _refuse_link(folder)
    removed = 0
    with storage_errors(root):
        for path in _doomed(root, plan.folder.purged(plan.output.retain)):
            fence.check()
            _remove(path)
            removed += 1
            say("purged", name=path.name)
    kept = ", ".join(plan.output.retain) or "nothing of data, samples and checkpoints"
    return StageResult.of(Stage.PURGE, Exit.SUCCEEDED, f"Removed {removed} files and folders; kept {kept}.", {"removed": float(removed)})


def _doomed(root: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    for pattern in patterns:
        yield from sorted(root.glob(pattern))


def _refuse_link(folder: Path) -> None:
    if folder.is_symlink():
        remedy = "Put the folder itself in its place, or remove the link and what it leads to."
        raise OutputConflict(str(folder), found="a symbolic link", expected="a folder of the run's own", remedy=remedy)


def _remove(path: Path) -> None:
    """The manifest first, so that what is left of a folder is not taken for complete; `rmtree` follows no link, whoever puts one there meanwhile."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    (path / "manifest.json").unlink(missing_ok=True)
    shutil.rmtree(path)
