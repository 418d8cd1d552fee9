"""`python -m medfinetune_trainer.tools.report FOLDER`: make report.html anew, of any run, complete or not, fetched or purged. Needs no torch.

The figures stand on stdout as one JSON object, or a refusal; the exit code is the contract's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medfinetune_api.errors import Refusal
from medfinetune_api.results import StageResult

from medfinetune_trainer.report.figures import figures
from medfinetune_trainer.report.run import read_run
from medfinetune_trainer.report.write import write_report


def main(argv: Sequence[str] | None = None) -> int:
    """Make the report of a folder and return the exit code."""
    parser = argparse.ArgumentParser(prog="report", description="Write report.html into a run's folder.")
    parser.add_argument("folder", type=Path, help="the run's folder, or all that was fetched of it")
    parser.add_argument("--ended", type=StageResult.model_validate_json, help="how the run's last stage ended: its StageResult, JSON")
    arguments = parser.parse_args(argv)
    try:
        run = read_run(arguments.folder, ended=arguments.ended)
        _tell({"exitCode": 0, "report": str(write_report(arguments.folder, run)), **figures(run)})
    except Refusal as refusal:
        facts = {"where": refusal.where, "found": refusal.found, "expected": refusal.expected, "remedy": refusal.remedy}
        _tell({"exitCode": int(refusal.exit), "reason": refusal.reason, "problems": [facts]})
        return int(refusal.exit)
    return 0


def _tell(result: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    sys.exit(main())
