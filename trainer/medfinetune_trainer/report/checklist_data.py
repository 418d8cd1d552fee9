"""The checklist's items on the records: what was trained on, personal data, contamination."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from medfinetune_api.choices import DecontaminationAction, PrivacyAction
from medfinetune_api.results_evaluation import Clean, EvaluationSummary
from medfinetune_api.results_privacy import PrivacyReport
from medfinetune_api.results_screening import ContaminationReport

from medfinetune_trainer.report.checklist_items import CONTAMINATION, PREPARED, PRIVACY, SUMMARY, Item, State
from medfinetune_trainer.report.run import Run
from medfinetune_trainer.report.words import percent, scored

DATA = Item("data", "Is it described what the model was trained on?", "TRIPOD+AI 5a; Model cards, Training Data")
ORIGIN = Item(
    "origin",
    "Are the records' origin, population and lawful basis known, and free of known inequalities?",
    "TRIPOD+AI 3c, 5a; WHO 2023, Data quality, Privacy and data protection",
    finding="No run knows where its records come from, whom they are about, or who allowed their use: a person must say.",
)
SCANNED = Item("privacy", "Were the records searched for personal data, and what became of it?", "WHO 2023, Privacy and data protection")
NAMES = Item("names", "Were names in free text searched for?", "WHO 2023, Privacy and data protection")
APART = Item("contamination", "Are the questions of the evaluation unknown to the training records?", "TRIPOD+AI 16; Med42, section on decontamination")


def data_items(run: Run) -> Iterator[Item]:
    """Every item on the records."""
    yield _data(run)
    yield ORIGIN
    yield _scanned(run.privacy)
    yield _names(run.privacy)
    yield _apart(run.contamination, run.summary)


def _data(run: Run) -> Item:
    if run.prepared is None or not run.prepared.sources:
        return replace(DATA, finding="Not known: prepare has left no mixture table.")
    shares = ", ".join(f"{one.name} ({one.language}, {one.domain}) {one.samples:,} records, {percent(one.share)}" for one in run.prepared.sources)
    return replace(DATA, state=State.DONE, finding=f"An epoch: {shares}.", evidence=(PREPARED,))


def _scanned(report: PrivacyReport | None) -> Item:
    if report is None:
        return replace(SCANNED, finding="Not searched.")
    flagged, records = sum(each.flagged for each in report.sources), sum(each.records for each in report.sources)
    kept = report.action is PrivacyAction.WARN and flagged > 0
    became = "; these records were trained on as they are" if kept else f"; action {report.action}" if flagged else ""
    finding = f"{flagged:,} of {records:,} records seem to hold personal data{became}. Rules find what is written as they expect it."
    return replace(SCANNED, state=State.FAILED if kept else State.DONE, finding=finding, evidence=(PRIVACY,))


def _names(report: PrivacyReport | None) -> Item:
    if report is None:
        return replace(NAMES, finding="Names not scanned.")
    without = [each.language for each in report.languages if not each.names_scanned]
    if without or not report.languages:
        found = f"Names not scanned in {', '.join(without)}: only labelled ones are found." if without else "Names not scanned."
        return replace(NAMES, finding=found, evidence=(PRIVACY,))
    return replace(NAMES, state=State.DONE, finding=f"Names scanned by the site's models in {_languages(report)}.", evidence=(PRIVACY,))


def _languages(report: PrivacyReport) -> str:
    return ", ".join(each.language for each in report.languages)


def _apart(report: ContaminationReport | None, summary: EvaluationSummary | None) -> Item:
    if report is None:
        return replace(APART, finding="Not compared.")
    if not report.questions:
        return replace(APART, finding="There was no unseen question to compare.", evidence=(CONTAMINATION,))
    blind = [f"{each.questions} with {each.records}" for each in report.across if not (each.embedding and each.embedding.used)]
    unlooked = f" Translations were not looked for ({', '.join(blind)})." if blind else ""
    finding = f"{report.contaminated:,} of {report.questions:,} questions resemble training records (action {report.action}).{_without(summary)}{unlooked}"
    done = not blind and (report.contaminated == 0 or report.action is DecontaminationAction.REMOVE)
    return replace(APART, state=State.DONE if done else State.OPEN, finding=finding, evidence=(CONTAMINATION, SUMMARY))


def _without(summary: EvaluationSummary | None) -> str:
    """What is left of the accuracy without the questions that were found."""
    cleaned: list[tuple[str, Clean]] = [(task.task, task.clean) for task in summary.tasks if task.clean and task.clean.contaminated] if summary else []
    words = ", ".join(f"{task} {scored(clean.tuned)} % of {clean.tuned.n:,}" for task, clean in cleaned if clean.tuned)
    return f" Without them: {words}." if words else ""
