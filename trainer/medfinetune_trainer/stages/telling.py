"""The last of evaluate: tell what was made. A model card beside the weights before they take their name, then the report, then the lineage, whose presence says
that nothing is left to do.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medfinetune_api.errors import Refusal
from medfinetune_api.plan import RunPlan
from medfinetune_api.results_evaluation import EvaluationSummary

from medfinetune_trainer.artifacts import fence
from medfinetune_trainer.artifacts.files import storage_errors, write_text
from medfinetune_trainer.artifacts.lineage import Lineage, lineage_of, write
from medfinetune_trainer.artifacts.quarantined import CARD
from medfinetune_trainer.artifacts.signing import signer
from medfinetune_trainer.report.card import card
from medfinetune_trainer.report.checklist import checklist
from medfinetune_trainer.report.run import run_of
from medfinetune_trainer.report.write import write_report
from medfinetune_trainer.stages.prepared import require_prepared
from medfinetune_trainer.telemetry.log import say, type_name


def begin_anew(plan: RunPlan) -> None:
    """What was told is about to be wrong. Raises StorageFailed; OutputConflict as `fence.check`."""
    with storage_errors(plan.folder.root):
        fence.check()
        for file in (plan.folder.lineage, plan.folder.signature, plan.folder.gates):
            file.unlink(missing_ok=True)


def put_card(plan: RunPlan, summary: EvaluationSummary, folder: Path, *, whole: bool) -> None:
    """Put the card into `folder`, of `whole` weights or of an adapter; one that says the same stays. Raises StorageFailed; OutputConflict as `fence.check`."""
    run = replace(run_of(plan, plan.folder), summary=summary, lineage=None)  # which is written after the card, and lists it
    text = card(plan, require_prepared(plan), summary, whole, run.judgement, run.privacy, checklist(run), run.contamination)
    file = folder / CARD
    for unfinished in folder.glob(f".{CARD}.*"):  # of a start that was killed as it wrote
        unfinished.unlink(missing_ok=True)
    if not file.exists() or file.read_text(encoding="utf-8", errors="replace") != text:
        write_text(file, text)


def tell(plan: RunPlan, summary: EvaluationSummary) -> None:
    """Write what is missing of cards, report and lineage. Raises StorageFailed; OutputConflict as `fence.check`."""
    if not plan.folder.lineage.exists():
        tell_anew(plan, summary)


def tell_anew(plan: RunPlan, summary: EvaluationSummary, before: Lineage | None = None) -> None:
    """Write cards, report and lineage as they now are; what the run was made from is as `before`, an earlier lineage of it, has it: the purge may have been.

    Raises StorageFailed; OutputConflict as `fence.check`.
    """
    stopped = plan.folder.quarantine
    for folder in (stopped,) if stopped.exists() else plan.delivered:
        put_card(plan, summary, folder, whole=plan.folder.model in (folder, plan.folder.released(plan.tuning.method)))
    lineage = lineage_of(plan, require_prepared(plan))
    if before:
        lineage = lineage.model_copy(update={"made_from": before.made_from})
    _report(plan, lineage)
    write(plan.folder, lineage, signer())


def _report(plan: RunPlan, lineage: Lineage) -> None:
    """A page that cannot be made is a defect of ours, and no reason to withhold a model: it is said, and `medfinetune report` makes it later."""
    try:
        write_report(plan.folder.root, run_of(plan, plan.folder, lineage))
    except Refusal:
        raise
    except Exception as error:
        say("no report", error=type_name(error), remedy="medfinetune report FOLDER")
