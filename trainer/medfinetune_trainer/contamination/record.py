"""Record: what was found as `contamination.json`, and which side is left out because of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from medfinetune_api.choices import DecontaminationAction, RemoveFrom
from medfinetune_api.errors import InvalidData, OutputConflict
from medfinetune_api.plan import RunPlan
from medfinetune_api.results_screening import AcrossLanguages, ContaminationReport, LanguageMethods, Repeats

from medfinetune_trainer.artifacts.files import write_text
from medfinetune_trainer.contamination.compare import Compared, compare, repeats_of
from medfinetune_trainer.contamination.ngrams import grams_of, primary


@dataclass(frozen=True)
class Screened:
    """What prepare needs to know of it."""

    report: ContaminationReport
    left_out: Mapping[str, frozenset[int]]
    """Source -> numbers (from 1) of its records that are not to be trained on."""


def screen(plan: RunPlan, scratch: Path) -> Screened | None:
    """Compare, and write contamination.json; None where the plan says not to. `scratch` is a folder for what does not fit memory.

    Raises:
        InvalidData: a file cannot be read, or Remove leaves a source or a task with nothing.
        InvalidModel: the embedding model cannot be used. StorageFailed.
    """
    if plan.data.decontamination.action is DecontaminationAction.DISABLED:
        return None
    found = compare(plan, scratch)
    removes = plan.data.decontamination.action is DecontaminationAction.REMOVE and plan.data.decontamination.remove_from is RemoveFrom.TRAINING
    left_out = {source.name: frozenset(found.findings.resembling[i]) if removes else frozenset[int]() for i, source in enumerate(plan.data.sources)}
    report = _report(plan, found, sum(map(len, left_out.values())))
    write_text(plan.folder.contamination, report.to_json() + "\n")
    _refuse_nothing_left(plan, report)
    return Screened(report, left_out)


def contaminated(plan: RunPlan) -> Mapping[str, frozenset[int]] | None:
    """Task -> numbers (from 1) of its questions that resemble training records; None where nothing was compared. A task that is `seen` is not in it.

    Raises OutputConflict where contamination.json is missing, damaged, or of another plan.
    """
    if plan.data.decontamination.action is DecontaminationAction.DISABLED:
        return None
    report = ContaminationReport.read(plan.folder.contamination)
    if report is None or report.plan_sha256 != plan.sha256:
        remedy = "Remove prepared.json and start again: prepare compares questions and records anew."
        found = "a file of another plan, or a damaged one" if plan.folder.contamination.exists() else "no such file"
        raise OutputConflict(str(plan.folder.contamination), found=found, expected="the file as prepare left it", remedy=remedy)
    return {task.task: frozenset(flagged.number for flagged in task.flagged) for task in report.tasks}


def left_unasked(plan: RunPlan) -> Mapping[str, frozenset[int]]:
    """Task -> numbers of its questions that are not asked; empty unless the plan removes from the evaluation. Raises as `contaminated`."""
    screening = plan.data.decontamination
    removes = screening.action is DecontaminationAction.REMOVE and screening.remove_from is RemoveFrom.EVALUATION
    return (contaminated(plan) or {}) if removes else {}


def _report(plan: RunPlan, found: Compared, left_out: int) -> ContaminationReport:
    screening = plan.data.decontamination
    return ContaminationReport(
        plan_sha256=plan.sha256,
        action=screening.action,
        remove_from=screening.remove_from,
        ngram_threshold=screening.ngram_threshold,
        similarity_threshold=screening.embedding.similarity_threshold if screening.embedding else None,
        records=found.records,
        left_out=left_out,
        languages=tuple(_languages(plan, found)),
        across=tuple(_across(plan, found)),
        tasks=tuple(found.findings.of_task(i, task.name, task.language) for i, task in enumerate(plan.evaluation.tasks) if not task.seen),
        repeats=tuple(_repeats(plan, found)),
    )


def _asked(plan: RunPlan) -> set[str]:
    return {primary(task.language) for task in plan.evaluation.tasks if not task.seen}


def _known(plan: RunPlan) -> set[str]:
    return {primary(source.language) for source in plan.data.sources}


def _languages(plan: RunPlan, found: Compared) -> Iterator[LanguageMethods]:
    for language in sorted(_asked(plan) | _known(plan)):
        grams = grams_of(language)
        yield LanguageMethods(language=language, unit=grams.unit, n=grams.n, embedding=found.within.get(language))


def _across(plan: RunPlan, found: Compared) -> Iterator[AcrossLanguages]:
    for asked in sorted(_asked(plan)):
        for known in sorted(_known(plan) - {asked}):
            yield AcrossLanguages(questions=asked, records=known, embedding=found.across.get((asked, known)))


def _repeats(plan: RunPlan, found: Compared) -> Iterator[Repeats]:
    names = [source.name for source in plan.data.sources]
    for later, earlier in sorted({(later, earlier) for later, earlier, _ in found.repeats}):
        exact, normalised, ngram, embedding = repeats_of(found.repeats, later, earlier)
        yield Repeats(source=names[later], earlier=names[earlier], exact=exact, normalised=normalised, ngram=ngram, embedding=embedding)


def _refuse_nothing_left(plan: RunPlan, report: ContaminationReport) -> None:
    """Raises InvalidData where Remove leaves a task nothing to ask; of a source that is left with nothing, reading it tells."""
    if report.action is not DecontaminationAction.REMOVE or report.remove_from is not RemoveFrom.EVALUATION:
        return
    for task in report.tasks:
        if task.contaminated == task.questions:
            found = f"task {task.task!r}, whose {task.questions} questions all resemble training records"
            remedy = "Evaluate on other questions, remove from Training, or only Report."
            raise InvalidData("spec.data.decontamination.removeFrom", found=found, expected="questions left to ask", remedy=remedy)
