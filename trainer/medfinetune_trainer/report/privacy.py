"""The section on personal data: what the scan found, by count and by line, and what it did not look for. No text of a record."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from medfinetune_api.choices import PrivacyAction
from medfinetune_api.plan import RunPlan
from medfinetune_api.results_privacy import Finding, PrivacyReport

from medfinetune_trainer.report.elements import Child, el, facts, name, table

DONE = {
    PrivacyAction.BLOCK: "Block: a run whose records hold any is refused",
    PrivacyAction.REDACT: "Redact: each finding was replaced by its type before training",
    PrivacyAction.WARN: "Warn: counted, and trained on as it is",
    PrivacyAction.DISABLED: "Disabled: nobody looked",
}
LIMITS = (
    "Rules find what is written as they expect it, in English and in Korean, and flag some of what is public, such as an institute's address. "
    "No finding is no proof that there is no personal data."
)


def privacy(plan: RunPlan, report: PrivacyReport | None) -> list[Element | None]:
    """The section's content; `report` is None where nothing was scanned, or not yet."""
    action = plan.data.privacy.action
    if action is PrivacyAction.DISABLED:
        return [el("p", "The records were not scanned for personal data (action Disabled).", class_="notice")]
    if report is None:
        return [el("p", "The records have not been scanned yet.")]
    rows = [("action", DONE[action]), *((language.language, _scanned(language.names_scanned)) for language in report.languages)]
    head = ("source", "language", "type", "findings", "records", "first of them")
    found = table(head, map(_row, report.findings), "Findings by source and type", numbers_from=3) if report.findings else None
    return [el("p", report.sentence), facts(rows), found, el("p", LIMITS, class_="soft")]


def privacy_words(plan: RunPlan, report: PrivacyReport | None) -> str:
    """The same in a sentence or two, for a card."""
    if report is None:
        return "The records were not scanned for personal data."
    return f"{report.sentence} {DONE[plan.data.privacy.action]}. {LIMITS}"


def _scanned(names: bool) -> str:
    return "names in free text scanned by the site's model" if names else "names not scanned: only those after a label, since no model was given"


def _row(finding: Finding) -> tuple[Child, ...]:
    return name(finding.source), finding.language, finding.type, f"{finding.findings:,}", f"{finding.records:,}", name(", ".join(finding.first))
