"""The section on contamination: which questions the training records hold, accuracy with and without them as in Med42's tables, and what was not compared."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from medfinetune_api.choices import DecontaminationAction, RemoveFrom
from medfinetune_api.plan import RunPlan
from medfinetune_api.results_evaluation import EvaluationSummary, Mean, Score
from medfinetune_api.results_screening import AcrossLanguages, ContaminationReport, EmbeddingTrial, FlaggedQuestion, LanguageMethods, TaskContamination

from medfinetune_trainer.report.elements import Child, el, name, table
from medfinetune_trainer.report.words import FEW, percent, scored

LISTED = 100
"""Flagged questions of a task that are named."""
LIMITS = (
    "A question is known again by its wording, and by its meaning only in the languages in which the embedding model passed its trial. One that was rewritten "
    "beyond that, or translated, is not found; nor is what the base saw when others trained it. Records that were held out or mixed out were compared, too."
)


def contamination(plan: RunPlan, report: ContaminationReport | None, summary: EvaluationSummary | None) -> list[Element | None]:
    """The section's content; `report` is None where nothing was compared, or not yet."""
    if report is None:
        return [el("p", _nothing(plan), class_="notice")]
    scores = [*_accuracies(summary), *_means(summary)] if summary else []
    head = ("task", "language", "questions", "alike", "share", "exact", "normalised", "n-grams", "meaning")
    tasks = table(head, map(_task, report.tasks), "Questions that resemble training records, each counted under the strictest method", numbers_from=2)
    measured = ("task", "measured by", "left out", "n", "base %", "tuned %")
    figures = table(measured, scores, "What was measured with such questions, and without them", numbers_from=2)
    return [
        el("p", contamination_words(report)),
        tasks if report.tasks else None,
        figures if scores else None,
        _repeats(report),
        table(("compared", "how", "by meaning"), [*map(_language, report.languages), *map(_across, report.across)], "What was compared", numbers_from=3),
        el("p", LIMITS, class_="soft"),
        *(_flagged(task) for task in report.tasks if task.flagged),
    ]


def contamination_words(report: ContaminationReport) -> str:
    """The outcome in a few sentences, for the page and for a card."""
    found = f"{report.contaminated:,} of {report.questions:,} questions resemble one of {report.records:,} training records"
    return f"{found}. {_done(report)} {report.repeated:,} training records repeat an earlier one."


def contaminated_rows(report: ContaminationReport, summary: EvaluationSummary) -> Iterator[tuple[str, ...]]:
    """For a card: task, questions, those alike, their share, and the tuned model's accuracy with and without them."""
    scores = {task.task: task for task in summary.tasks}
    for task in report.tasks:
        one = scores.get(task.task)
        clean = one.clean if one else None
        with_, without = scored((clean and clean.before_tuned) or (one.tuned if one else None)), scored(clean.tuned if clean else None)
        yield task.task, f"{task.questions:,}", f"{task.contaminated:,}", percent(task.rate), with_, without


def _nothing(plan: RunPlan) -> str:
    if plan.data.decontamination.action is DecontaminationAction.DISABLED:
        return "Questions and training records were not compared (action Disabled): an accuracy may be memory."
    return "Questions and training records have not been compared yet."


def _done(report: ContaminationReport) -> str:
    if report.action is DecontaminationAction.REPORT:
        return "They are asked all the same and records are trained on all the same (action Report)."
    if report.remove_from is RemoveFrom.EVALUATION:
        return "Every accuracy of this run is without them (action Remove, from Evaluation); they were asked apart, for the accuracy before removal."
    return f"{report.left_out:,} records that they resemble are not trained on (action Remove, from Training)."


def _task(task: TaskContamination) -> tuple[Child, ...]:
    found = [each.found_by for each in task.flagged]
    counts = (sum(method == kind for method in found) for kind in ("Exact", "Normalised", "NGram", "Embedding"))
    return name(task.task), task.language, f"{task.questions:,}", f"{task.contaminated:,}", percent(task.rate), *(f"{count:,}" for count in counts)


def _accuracies(summary: EvaluationSummary) -> Iterator[tuple[Child, ...]]:
    for task in summary.tasks:
        if clean := task.clean:
            yield name(task.task), "Accuracy", *_figures(0, clean.before_base or task.base, clean.before_tuned or task.tuned)
            yield "", "", *_figures(clean.contaminated, clean.base, clean.tuned)


def _means(summary: EvaluationSummary) -> Iterator[tuple[Child, ...]]:
    for text, clean in ((text, text.clean) for text in summary.texts if text.clean):
        for metric, tuned in text.tuned.items():
            yield name(text.task), metric, *_figures(0, clean.before_base.get(metric, text.base.get(metric)), clean.before_tuned.get(metric, tuned))
            yield "", "", *_figures(clean.contaminated, clean.base.get(metric), clean.tuned.get(metric))


def _figures(left_out: int, base: Score | Mean | None, tuned: Score | Mean | None) -> tuple[str, ...]:
    n = tuned.n if tuned else 0
    return f"{left_out:,}" if left_out else "none", f"{n:,}" + ("*" if n < FEW else ""), scored(base), scored(tuned)


def _repeats(report: ContaminationReport) -> Element | None:
    rows: list[tuple[Child, ...]] = [
        (name(each.source), name(each.earlier), *(f"{count:,}" for count in (each.exact, each.normalised, each.ngram, each.embedding)))
        for each in report.repeats
    ]
    head = ("source", "repeats one of", "exact", "normalised", "n-grams", "meaning")
    return table(head, rows, "Training records that repeat an earlier one; n-grams find at least these", numbers_from=2) if rows else None


def _language(one: LanguageMethods) -> tuple[Child, ...]:
    how = f"exact, normalised, n-grams of {one.n} {one.unit.lower()}"
    return one.language, how, "no model given" if one.embedding is None else _trial(one.embedding)


def _across(one: AcrossLanguages) -> tuple[Child, ...]:
    return f"{one.questions} questions with {one.records} records", "exact, normalised", "not compared" if one.embedding is None else _trial(one.embedding)


def _trial(trial: EmbeddingTrial) -> str:
    """Whether the model was used, with the figures that decided it."""
    unrelated = "too few texts" if trial.unrelated_share is None else f"{percent(trial.unrelated_share)} of {trial.pairs:,} shuffled pairs above the threshold"
    known = f"; {percent(trial.translated_share)} of {trial.translations} translations found" if trial.translated_share is not None else ""
    unknown = "; no known translations to try it on" if trial.translations == 0 else ""
    return f"{'used' if trial.used else 'REFUSED'}: {unrelated}{known}{unknown}"


def _flagged(task: TaskContamination) -> Element:
    rows = map(_question, task.flagged[:LISTED])
    left = len(task.flagged) - LISTED
    more = f" (the first {LISTED}; contamination.json has {left:,} more)" if left > 0 else ""
    listed = table(("question", "found by", "records", "closest", "source", "similarity"), rows, numbers_from=5)
    return el("details", el("summary", "Questions of ", name(task.task), f" by file and line{more}"), listed)


def _question(flagged: FlaggedQuestion) -> tuple[Child, ...]:
    closest = flagged.alike[0]
    return name(flagged.question), flagged.found_by, f"{flagged.records:,}", name(closest.record), name(closest.source), f"{closest.similarity:.2f}"
