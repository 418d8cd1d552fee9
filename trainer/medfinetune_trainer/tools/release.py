"""`python -m medfinetune_trainer.tools.release FOLDER --reason TEXT [--by NAME]`: let out what a gate has stopped. Needs torch for a merge alone.

One JSON object on stdout, the record or a refusal; the exit code is the contract's.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medfinetune_api.choices import Stage
from medfinetune_api.errors import OutputConflict, Refusal
from medfinetune_api.layout import RunFolder
from medfinetune_api.plan import RunPlan
from medfinetune_api.results_gates import Release

from medfinetune_trainer.artifacts.files import storage_errors
from medfinetune_trainer.gates.release import requested
from medfinetune_trainer.stages.holding import held
from medfinetune_trainer.stages.release import refuse_released, release


def main(argv: Sequence[str] | None = None) -> int:
    """Release the run in a folder and return the exit code."""
    parser = argparse.ArgumentParser(prog="release", description="Release a run that a gate has stopped.")
    parser.add_argument("folder", type=Path, help="the run's folder on its output volume")
    parser.add_argument("--reason", required=True, help="why, in one line")
    parser.add_argument("--by", help="who decides; by default the user of this process")
    arguments = parser.parse_args(argv)
    try:
        done = released(arguments.folder, _user() if arguments.by is None else arguments.by, arguments.reason)
    except Refusal as refusal:
        facts = {"where": refusal.where, "found": refusal.found, "expected": refusal.expected, "remedy": refusal.remedy}
        _tell({"exitCode": int(refusal.exit), "reason": refusal.reason, "problems": [facts]})
        return int(refusal.exit)
    _tell({"exitCode": 0, "folder": str(arguments.folder), "release": json.loads(done.to_json())})
    return 0


def released(root: Path, by: str, reason: str) -> Release:
    """Release the run in the folder `root`. Raises InvalidManifest, OutputConflict, InvalidModel, StorageFailed: see `stages/release.py`."""
    request = requested(by, reason)
    plan = _plan(root)
    with storage_errors(root), held(plan, Stage.RELEASE):
        refuse_released(plan)
        return release(plan, request)


def _plan(root: Path) -> RunPlan:
    """The plan of a run that lies under its own name, with its output volume where that is now."""
    plan = RunPlan.read(RunFolder(root).plan)
    where = root.resolve()
    if plan is None or where.name != plan.identity.folder:
        found = "no plan that can be read" if plan is None else f"the run {plan.identity.folder} under another name"
        remedy = "Name the run's own folder on its output volume."
        raise OutputConflict(str(root), found=found, expected="the folder of a run", remedy=remedy)
    return plan.model_copy(update={"mounts": plan.mounts.model_copy(update={"output": str(where.parent)})})


def _user() -> str:
    """The user's name, or number where it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _tell(result: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    sys.exit(main())
