"""`python -m medfinetune_trainer.tools.checklist FOLDER [--key PUBLIC]`: the pre-deployment checklist of a run, its lineage verified now. Needs no torch.

One JSON object on stdout, with the list as Markdown besides; exit code 0 whatever is open, or a refusal's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medfinetune_api.errors import OutputConflict, Refusal

from medfinetune_trainer.artifacts.signing import public_key
from medfinetune_trainer.artifacts.verification import Verdict, verify
from medfinetune_trainer.report.card import plain
from medfinetune_trainer.report.checklist import checklist, markdown
from medfinetune_trainer.report.checklist_items import State
from medfinetune_trainer.report.run import read_run
from medfinetune_trainer.tools.verify import rendered


def main(argv: Sequence[str] | None = None) -> int:
    """Fill the checklist of a folder and return the exit code."""
    parser = argparse.ArgumentParser(prog="checklist", description="What a clinical model needs before it is used, filled from a run's folder.")
    parser.add_argument("folder", type=Path, help="the run's folder, or all that was fetched of it")
    parser.add_argument("--key", type=Path, help="the site's public key, PEM")
    arguments = parser.parse_args(argv)
    try:
        answer = filled(arguments.folder, arguments.key)
    except Refusal as refusal:
        facts = {"where": refusal.where, "found": refusal.found, "expected": refusal.expected, "remedy": refusal.remedy}
        answer = {"exitCode": int(refusal.exit), "reason": refusal.reason, "problems": [facts]}
    sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
    return int(answer["exitCode"])


def filled(root: Path, key: Path | None) -> dict[str, Any]:
    """The checklist of the run in `root`. Raises OutputConflict where there is no run, InvalidManifest where `key` is no public key."""
    run, public = read_run(root), public_key(key) if key else None
    items = checklist(run, _verdict(root, public) if run.lineage else None)
    return {
        "exitCode": 0,
        "name": run.plan.identity.name,
        "state": run.state,
        "counts": {state.value: sum(item.state is state for item in items) for state in State},
        "items": [item.as_json() for item in items],
        "markdown": f"# Before {plain(run.plan.identity.name)} is used\n\n{markdown(items, plain)}\n",
    }


def _verdict(root: Path, key: Any) -> Verdict | None:
    try:
        return verify(root, key, rendered)
    except OutputConflict:
        return None


if __name__ == "__main__":
    sys.exit(main())
