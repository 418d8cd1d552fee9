"""What screening and gates said of a run, in one sentence each: for the lineage, where a person reads it, and for a signature to cover."""

from __future__ import annotations

from medfinetune_api.base import Contract
from medfinetune_api.layout import RunFolder
from medfinetune_api.results_gates import GateReport, Release
from medfinetune_api.results_privacy import PrivacyReport
from medfinetune_api.results_screening import ContaminationReport
from medfinetune_api.scalars import Message

NOT_SCREENED = "not looked at"


class Verdicts(Contract):
    """A sentence each."""

    contamination: Message
    """Of contamination.json."""
    privacy: Message
    """Of privacy.json."""
    gates: Message
    """Of evaluation/gates.json and release.json."""


def verdicts_of(folder: RunFolder, plan_sha256: str) -> Verdicts:
    """What the files in `folder` say; one that is missing, damaged or of another plan says nothing."""
    contamination, privacy = ContaminationReport.read(folder.contamination), PrivacyReport.read(folder.privacy)
    gates = GateReport.read(folder.gates)
    return Verdicts(
        contamination=_contamination(contamination) if contamination and contamination.plan_sha256 == plan_sha256 else NOT_SCREENED,
        privacy=_privacy(privacy) if privacy and privacy.plan_sha256 == plan_sha256 else NOT_SCREENED,
        gates=_gates(gates, Release.read(folder.release)) if gates and gates.gates and gates.plan_sha256 == plan_sha256 else "none set",
    )


def _contamination(report: ContaminationReport) -> str:
    return f"{report.contaminated:,} of {report.questions:,} questions resemble training records; action {report.action}, {report.left_out:,} records left out"


def _privacy(report: PrivacyReport) -> str:
    flagged, records = sum(each.flagged for each in report.sources), sum(each.records for each in report.sources)
    unscanned = [each.language for each in report.languages if not each.names_scanned]
    names = f"names not scanned in {', '.join(unscanned)}" if unscanned else "names scanned"
    return f"{flagged:,} of {records:,} records with findings; action {report.action}; {names}"[:1024]


def _gates(report: GateReport, release: Release | None) -> str:
    if not report.failed:
        return f"all {len(report.gates)} hold"
    names = ", ".join(outcome.gate.name for outcome in report.failed)
    released = f"; released by {release.by}" if release and release.plan_sha256 == report.plan_sha256 else "; quarantined"
    return f"{len(report.failed)} of {len(report.gates)} failed ({names}){released}"[:1024]
