"""The figures of a run as one JSON object: what the page draws, for a program."""

from __future__ import annotations

import json
from typing import Any

from medfinetune_trainer.report.run import Run


def figures(run: Run) -> dict[str, Any]:
    """How far it came, what was measured last and at most, each attempt, and the contract's own prepared and summary."""
    history = run.history
    return {
        "name": run.plan.identity.name,
        "folder": run.plan.identity.folder,
        "planSha256": run.plan.sha256,
        "state": run.state,
        "steps": {"done": history.last_step, "planned": run.prepared.total_steps if run.prepared else None},
        "last": {name: points[-1][1] for name, points in history.steps.items() if points},
        "validation": {name: {language: points[-1][1] for language, points in found.items()} for name, found in history.validations.items()},
        "peakMemoryBytes": {name: max(size for _, size in points) for name, points in history.memory.items()},
        "secondsInSteps": sum(seconds for _, seconds in history.steps["seconds"]),
        "tokens": history.tokens,
        "attempts": [{"began": one.started.isoformat(), "fromStep": one.step, "toStep": one.reached, **one.figures} for one in history.tries],
        "events": [{"kind": kind, **found} for kind, found in history.events],
        "versions": dict(run.lineage.made_from.versions) if run.lineage else None,
        "prepared": json.loads(run.prepared.to_json()) if run.prepared else None,
        "evaluation": json.loads(run.summary.to_json()) if run.summary else None,
        "gates": [json.loads(outcome.to_json()) for outcome in run.judgement.gates],
        "release": json.loads(run.judgement.release.to_json()) if run.judgement.release else None,
        "linesSkipped": history.skipped,
        "damaged": list(run.damaged),
    }
