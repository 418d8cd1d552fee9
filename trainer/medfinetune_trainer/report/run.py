"""Everything that a run's folder tells without record text: what a page, a card and the figures are made from. Whatever is missing is None."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from medfinetune_api.errors import OutputConflict
from medfinetune_api.layout import RunFolder
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import Prepared, StageResult
from medfinetune_api.results_activation import Activations
from medfinetune_api.results_evaluation import EvaluationSummary
from medfinetune_api.results_privacy import PrivacyReport
from medfinetune_api.results_screening import ContaminationReport

from medfinetune_trainer.artifacts.lineage import Lineage
from medfinetune_trainer.report.changes import TaskChanges, changed_answers
from medfinetune_trainer.report.gates import NOT_JUDGED, Judgement, judgement_of
from medfinetune_trainer.report.history import History, read

Kind = TypeVar("Kind", Prepared, EvaluationSummary, Lineage, PrivacyReport, ContaminationReport, Activations)


@dataclass(frozen=True)
class Run:
    """What is known of one run."""

    plan: RunPlan
    prepared: Prepared | None
    summary: EvaluationSummary | None
    lineage: Lineage | None
    history: History
    damaged: tuple[str, ...]
    """Files that could not be read, or belong to another plan."""
    judgement: Judgement = NOT_JUDGED
    ended: StageResult | None = None
    """How its last stage ended, where whoever asks knows; the folder does not say."""
    privacy: PrivacyReport | None = None
    changed: tuple[TaskChanges, ...] = ()
    contamination: ContaminationReport | None = None
    activations: Activations | None = None

    @property
    def state(self) -> str:
        """How far it came, in words."""
        if self.judgement.stopped:
            return f"Quarantined: {', '.join(self.judgement.failed)} failed"
        if self.ended and self.ended.exit_code:
            return f"Failed in {self.ended.stage}: {self.ended.reason}"
        if self.lineage:
            return "Complete, and released against its gates" if self.judgement.release else "Complete"
        if self.history.tries:
            return f"Not complete: step {self.history.last_step} of {self.prepared.total_steps if self.prepared else 'an unknown number'}"
        return "Not complete: prepared, not trained" if self.prepared else "Not complete: not prepared"


def read_run(root: Path, ended: StageResult | None = None) -> Run:
    """The run in the folder `root`, which may be fetched, purged, failed, or still at work; `ended` is how its last stage ended.

    Raises OutputConflict where there is no plan that can be read.
    """
    folder = RunFolder(root)
    plan = RunPlan.read(folder.plan) if root.is_dir() else None
    if plan is None:
        found = "a plan that cannot be read" if folder.plan.exists() else "no such file"
        remedy = "Name a run's folder: what `medfinetune run` wrote below --output, or what `medfinetune fetch --what all` made."
        raise OutputConflict(str(folder.plan), found=found, expected="the plan of a run", remedy=remedy)
    return run_of(plan, folder, ended=ended)


def run_of(plan: RunPlan, folder: RunFolder, lineage: Lineage | None = None, ended: StageResult | None = None) -> Run:
    """What lies in `folder` of the run of `plan`; `lineage` is one that is about to be written there."""
    damaged: list[str] = []
    prepared = _read(Prepared, folder.prepared, plan, damaged)
    summary = _read(EvaluationSummary, folder.summary, plan, damaged)
    lineage = lineage or _read(Lineage, folder.lineage, plan, damaged)
    privacy = _read(PrivacyReport, folder.privacy, plan, damaged)
    changed = changed_answers(plan, folder, damaged)
    contamination = _read(ContaminationReport, folder.contamination, plan, damaged)
    acts, history, judgement = _read(Activations, folder.activations, plan, damaged), read(folder.metrics), judgement_of(plan, folder)
    if judgement is NOT_JUDGED and folder.gates.exists():
        damaged.append(folder.gates.name)
    return Run(plan, prepared, summary, lineage, history, tuple(damaged), judgement, ended, privacy, changed, contamination, acts)


def _read(kind: type[Kind], file: Path, plan: RunPlan, damaged: list[str]) -> Kind | None:
    found = kind.read(file)
    if found is not None and found.plan_sha256 == plan.sha256:
        return found
    if file.exists():
        damaged.append(file.name)
    return None
