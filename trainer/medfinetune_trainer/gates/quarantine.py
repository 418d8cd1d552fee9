"""Quarantine: what was trained and failed a gate, under a name that nothing which looks for an adapter reads.

One rename puts it there, so that at any moment it has exactly one name, and `adapter/` or `model/` never appears. A stage that is started again finds it there
and ends the same.
"""

from __future__ import annotations

from pathlib import Path

from medfinetune_api.plan import RunPlan
from medfinetune_api.results_gates import GateReport, Release

from medfinetune_trainer.artifacts.files import remove_folder, remove_unfinished, rename_folder, storage_errors


def quarantine(plan: RunPlan, trained: Path) -> None:
    """Put what was trained, which lies in the folder `trained`, into quarantine, and remove what it was merged into.

    Raises StorageFailed; OutputConflict as `fence.check`.
    """
    folder = plan.folder
    if trained != folder.quarantine:
        rename_folder(trained, folder.quarantine)
    with storage_errors(folder.root):
        folder.release.unlink(missing_ok=True)  # of a release that was killed before its rename
        remove_unfinished(folder.model)
        if folder.model.exists():
            remove_folder(folder.model)


def is_stopped(plan: RunPlan, report: GateReport) -> bool:
    """Whether a gate keeps what was trained back: one failed, and nobody has released it since."""
    return bool(report.failed) and not is_released(plan)


def is_released(plan: RunPlan) -> bool:
    """Whether what a gate had stopped bears its final name by somebody's decision."""
    return not plan.folder.quarantine.exists() and Release.read(plan.folder.release) is not None
