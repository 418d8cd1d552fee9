"""Writes a run's report into its folder."""

from __future__ import annotations

from pathlib import Path

from medfinetune_api.layout import RunFolder

from medfinetune_trainer.artifacts.files import write_text
from medfinetune_trainer.report.page import page
from medfinetune_trainer.report.run import Run


def write_report(root: Path, run: Run) -> Path:
    """Write `report.html` of `run` into the folder `root`; its path. Raises StorageFailed; OutputConflict as `fence.check`."""
    file = RunFolder(root).report
    write_text(file, page(run))
    return file
