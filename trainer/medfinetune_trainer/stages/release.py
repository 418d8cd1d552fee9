"""Release: let out what a gate has stopped, by a person's recorded decision. The stage of a run that was quarantined, and of nothing else.

`gates/release.py` records the decision and renames; here follows what is told of it: the card beside the weights, the merged model where the manifest asks for
one, the report, and last the lineage, whose hash of release.json says that nothing is left to do. Needs torch for a merge alone.

The decision comes in two environment variables, which the operator sets from the run's annotations; `medfinetune release` gives it as arguments.
"""

from __future__ import annotations

import os

from medfinetune_api.choices import Stage
from medfinetune_api.errors import OutputConflict
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import StageResult
from medfinetune_api.results_evaluation import EvaluationSummary
from medfinetune_api.results_gates import Release, ReleaseRequest

from medfinetune_trainer.gates.quarantine import is_released
from medfinetune_trainer.gates.release import is_told, judged_lineage, let_out, requested
from medfinetune_trainer.stages.prepared import require_base, require_prepared
from medfinetune_trainer.stages.telling import tell_anew

BY, REASON = "MEDFINETUNE_RELEASED_BY", "MEDFINETUNE_RELEASE_REASON"


def run(plan: RunPlan) -> StageResult:
    """Release the run for the reason in the environment, or do what an earlier start left undone. Raises as `release`, but for a run that is released."""
    done = release(plan, requested(os.environ.get(BY, ""), os.environ.get(REASON, "")))
    message = f"Released {plan.folder.released(plan.tuning.method).name} against {', '.join(done.gates)}."
    return StageResult.of(Stage.RELEASE, Exit.SUCCEEDED, message, {"gates_failed": float(len(done.gates))})


def refuse_released(plan: RunPlan) -> None:
    """Raise OutputConflict where a release is complete: a second decision would not be about anything."""
    found = Release.read(plan.folder.release)
    if found is not None and is_released(plan) and is_told(plan):
        expected, remedy = "a run in quarantine", "Nothing is left to do; `medfinetune report` tells of it."
        raise OutputConflict(str(plan.folder.root), found=f"a run that {found.by} released on {found.time:%d %B %Y}", expected=expected, remedy=remedy)


def release(plan: RunPlan, request: ReleaseRequest) -> Release:
    """Let the run out and tell of it. Holds what another start has begun to its record, whoever asks now.

    Raises:
        OutputConflict: the run is not quarantined, does not verify, or holds other files than were released. StorageFailed.
        InvalidModel: the base that the manifest wants the adapter merged into is not there, or another.
    """
    if plan.output.merge:
        require_base(plan, require_prepared(plan))
    done = let_out(plan, request)
    summary = EvaluationSummary.read(plan.folder.summary)
    if summary is None:
        remedy = "Start `medfinetune run` again: it evaluates what is missing."
        raise OutputConflict(str(plan.folder.summary), found="no summary that can be read", expected="what evaluate left", remedy=remedy)
    if before := judged_lineage(plan, done):
        if not all(folder.exists() for folder in plan.delivered):
            from medfinetune_trainer.stages.merging import deliver_merged  # torch

            deliver_merged(plan, summary)
        tell_anew(plan, summary, before)
    return done
