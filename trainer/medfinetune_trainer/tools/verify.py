"""`python -m medfinetune_trainer.tools.verify FOLDER [--key PUBLIC]`: whether a run's folder is what its lineage.json says. Needs no torch.

One line a problem on stderr and one JSON object on stdout; exit code 0, or OUTPUT_CONFLICT.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medfinetune_api.errors import Refusal
from medfinetune_api.exits import Exit
from medfinetune_api.layout import RunFolder

from medfinetune_trainer.artifacts.signing import public_key
from medfinetune_trainer.artifacts.verification import Verdict, verify
from medfinetune_trainer.report.page import page
from medfinetune_trainer.report.run import read_run


def main(argv: Sequence[str] | None = None) -> int:
    """Verify a folder and return the exit code."""
    parser = argparse.ArgumentParser(prog="verify", description="Compare a run's folder with its lineage.json.")
    parser.add_argument("folder", type=Path, help="the run's folder, or what was fetched of it")
    parser.add_argument("--key", type=Path, help="the site's public key, PEM")
    parser.add_argument("--whole", action="store_true", help="a file of the run that is not there is missing")
    arguments = parser.parse_args(argv)
    try:
        verdict = verify(arguments.folder, public_key(arguments.key) if arguments.key else None, rendered, arguments.whole)
    except Refusal as refusal:
        return _tell({"problems": [_problem(refusal)]}, refusal.exit)
    return _tell(as_json(verdict, arguments.folder), Exit.OUTPUT_CONFLICT if verdict.problems else Exit.SUCCEEDED)


def rendered(root: Path) -> str:
    """The report that the files in `root` make; nothing where they make none."""
    try:
        return page(read_run(root))
    except Refusal:
        return ""


def as_json(verdict: Verdict, root: Path) -> dict[str, Any]:
    """The verdict as one object."""
    return {
        "lineageSha256": verdict.lineage_sha256,
        "planSha256": verdict.plan_sha256,
        "signature": verdict.signature.value,
        "attempts": verdict.lineage.attempts.entries,
        "attemptsChecked": RunFolder(root).attempts.is_file(),
        "planChecked": RunFolder(root).plan.is_file(),
        "requester": json.loads(verdict.lineage.made_from.requester.to_json()),
        "verdicts": json.loads(verdict.lineage.verdicts.to_json()),
        "held": len(verdict.held),
        "problems": [_problem(problem) for problem in verdict.problems],
        "notChecked": list(verdict.unchecked),
        "notYetPurged": list(verdict.still_there),
    }


def _problem(problem: Refusal) -> dict[str, str]:
    return {"where": problem.where, "found": problem.found, "expected": problem.expected, "remedy": problem.remedy}


def _tell(result: dict[str, Any], code: Exit) -> int:
    for problem in result["problems"]:
        sys.stderr.write(f"{problem['where']}: {problem['found']}; expected {problem['expected']}\n")
    sys.stdout.write(json.dumps({"exitCode": int(code)} | result, ensure_ascii=False) + "\n")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
