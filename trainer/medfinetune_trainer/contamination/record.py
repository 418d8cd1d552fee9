"""Record: what was found as `contamination.json`, and which side is left out because of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from medfinetune_api.choices import DecontaminationAction, RemoveFrom
from medfinetune_api.errors import InvalidData, OutputConflict
from medfinetune_api.plan import RunPlan
from medfinetune_api.results_screening import AcrossLanguages, ContaminationReport, LanguageMethods, Repeats

from medfinetune_trainer.artifacts.files import write_text
from medfinetune_trainer.contamination.compare import Compared, compare, repeats_of
from medfinetune_trainer.contamination.ngrams import grams_of, primary
from medfinetune_trainer.telemetry.log import say

TRAINING, EVALUATION = RemoveFrom.TRAINING, RemoveFrom.EVALUATION
FIELD = "spec.data.decontamination.removeFrom"


LeftOut = Mapping[str, frozenset[int]]
"""Source -> numbers (from 1) of its records that are not trained on."""
NOTHING: LeftOut = {}


def screen(plan: RunPlan, scratch: Path) -> LeftOut:
    """Compare, write contamination.json, and say which records are not to be trained on. `scratch` is a folder for what does not fit memory.

    Raises:
        InvalidData: a file cannot be read, or Remove leaves a source or a task with nothing.
        InvalidModel: the embedding model cannot be used. StorageFailed.
    """
    if plan.data.decontamination.action is DecontaminationAction.DISABLED:
        return NOTHING
    found = compare(plan, scratch)
    left_out = {source.name: frozenset(found.findings.resembling[i]) for i, source in enumerate(plan.data.sources)} if _removes(plan, TRAINING) else NOTHING
    report = _report(plan, found, sum(map(len, left_out.values())))
    write_text(plan.folder.contamination, report.to_json() + "\n")
    say("compared", records=report.records, questions=report.questions, contaminated=report.contaminated, repeated=report.repeated, left_out=report.left_out)
    _refuse_nothing_to_ask(plan, report)
    _refuse_nothing_to_train_on(plan, found, left_out)
    return left_out


def contaminated(plan: RunPlan) -> Mapping[str, frozenset[int]]:
    """Task -> numbers (from 1) of its questions that resemble training records; without those that were not compared.

    Raises OutputConflict where contamination.json is missing, damaged, or of another plan.
    """
    if plan.data.decontamination.action is DecontaminationAction.DISABLED:
        return {}
    report = ContaminationReport.read(plan.folder.contamination)
    if report is None or report.plan_sha256 != plan.sha256:
        remedy = "Remove prepared.json and start again: prepare compares questions and records anew."
        found = "a file of another plan, or a damaged one" if plan.folder.contamination.exists() else "no such file"
        raise OutputConflict(str(plan.folder.contamination), found=found, expected="the file as prepare left it", remedy=remedy)
    return {task.task: frozenset(flagged.number for flagged in task.flagged) for task in report.tasks}


def asks_contaminated(plan: RunPlan) -> bool:
    """Whether questions that resemble training records are asked all the same."""
    return not _removes(plan, EVALUATION)


def figures(plan: RunPlan) -> dict[str, float]:
    """Counts for prepare's result; none where nothing was compared."""
    report = ContaminationReport.read(plan.folder.contamination)
    if report is None or report.plan_sha256 != plan.sha256:
        return {}
    totals = {"questions_compared": report.questions, "questions_contaminated": report.contaminated}
    totals |= {"records_repeated": report.repeated, "records_decontaminated": report.left_out}
    return {name: float(count) for name, count in totals.items()} | {f"contamination_rate_{task.task}": task.rate for task in report.tasks}


def _removes(plan: RunPlan, side: RemoveFrom) -> bool:
    return plan.data.decontamination.action is DecontaminationAction.REMOVE and plan.data.decontamination.remove_from is side


def _report(plan: RunPlan, found: Compared, left_out: int) -> ContaminationReport:
    screening = plan.data.decontamination
    return ContaminationReport(
        plan_sha256=plan.sha256,
        action=screening.action,
        remove_from=screening.remove_from,
        ngram_threshold=screening.ngram_threshold,
        similarity_threshold=screening.embedding.similarity_threshold if screening.embedding else None,
        records=sum(found.records),
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


def _refuse_nothing_to_ask(plan: RunPlan, report: ContaminationReport) -> None:
    for task in report.tasks:
        if _removes(plan, EVALUATION) and task.contaminated == task.questions:
            found = f"task {task.task!r}, whose {task.questions} questions all resemble training records"
            remedy = "Evaluate on other questions, remove from Training, or only Report."
            raise InvalidData(FIELD, found=found, expected="questions left to ask", remedy=remedy)


def _refuse_nothing_to_train_on(plan: RunPlan, found: Compared, left_out: LeftOut) -> None:
    for source, records in zip(plan.data.sources, found.records, strict=True):
        if len(left_out.get(source.name, ())) == records:
            what = f"source {source.name!r}, whose {records} records all resemble questions"
            remedy = "Train on other records, remove from Evaluation, or only Report."
            raise InvalidData(FIELD, found=what, expected="records left to train on", remedy=remedy)
