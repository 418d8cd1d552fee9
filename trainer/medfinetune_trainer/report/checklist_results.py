"""The checklist's items on what the model can do: languages, subjects, the base, forgetting, calibration, robustness, free text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from medfinetune_api.results_evaluation import EvaluationSummary, TaskScores

from medfinetune_trainer.report.checklist_items import SUMMARY, Item, State
from medfinetune_trainer.report.run import Run
from medfinetune_trainer.report.words import FEW, percent, scored

LANGUAGES = Item(
    "languages", "Was every language that was trained on asked about, in questions that were not trained on?", "TRIPOD+AI 14, 23a; Model cards, Factors"
)
SUBJECTS = Item("subjects", "Does every subject have questions enough to judge it?", "TRIPOD+AI 10, 23a; Model cards, Quantitative Analyses")
BASE = Item("base", "Was it compared with the model that it was made from?", "TRIPOD+AI 23a; DECIDE-AI 4a")
FORGETTING = Item("forgetting", "Did it lose what the base could do?", "TRIPOD+AI 23b; DECIDE-AI 13")
CALIBRATION = Item("calibration", "Is it right as often as it is sure?", "TRIPOD+AI 12e, 23a")
ORDERS = Item("option-order", "Does its answer stay when the options change places?", "CONSORT-AI 19; Model cards, Quantitative Analyses")
ROBUSTNESS = Item(
    "robustness",
    "Does its answer stay under other wording, typing errors, and other patients' demographics?",
    "TRIPOD+AI 14; CONSORT-AI 5(iii), 19; WHO 2024, on bias",
    finding="Not measured.",
)
FREE_TEXT = Item(
    "free-text", "Was what it writes in its own words measured, and searched for harmful advice?", "WHO 2024, on false or incomplete statements; DECIDE-AI 6"
)
NOT_MEASURED = "Not measured on questions that were not trained on."


def result_items(run: Run) -> Iterator[Item]:
    """Every item on the results; without an evaluation all are open."""
    summary = run.summary
    if summary is None:
        finding = "The evaluation's summary cannot be read." if "summary.json" in run.damaged else "Not evaluated."
        yield from (replace(item, finding=finding) for item in (LANGUAGES, SUBJECTS, BASE, FORGETTING, CALIBRATION, ORDERS, ROBUSTNESS, FREE_TEXT))
        return
    unseen = [task for task in summary.tasks if not task.seen]
    yield _languages(run, unseen)
    yield _subjects(unseen)
    yield _base(summary)
    yield _forgetting(summary)
    yield _calibration(unseen)
    yield _orders(unseen)
    yield ROBUSTNESS
    yield _free_text(summary)


def _languages(run: Run, unseen: list[TaskScores]) -> Item:
    plan = run.plan
    trained = sorted({source.language for source in plan.data.sources})
    asked = {language: sum(task.questions for task in unseen if task.language == language) for language in trained}
    lacking = [language for language, n in asked.items() if n < FEW]
    finding = f"Unseen questions asked: {', '.join(f'{language} {n:,}' for language, n in asked.items())}."
    if lacking:
        return replace(LANGUAGES, finding=f"{finding} Too few, fewer than {FEW}, in {', '.join(lacking)}.", evidence=(SUMMARY,))
    return replace(LANGUAGES, state=State.DONE, finding=finding, evidence=(SUMMARY,))


def _subjects(unseen: list[TaskScores]) -> Item:
    scores = {(task.task, subject): score for task in unseen for subject, score in task.tuned_by_subject.items()}
    if not scores:
        return replace(SUBJECTS, finding="No unseen question names a subject.", evidence=(SUMMARY,))
    few = sum(score.n < FEW for score in scores.values())
    (task, subject), least = min(scores.items(), key=lambda each: each[1].accuracy)
    finding = (
        f"{len(scores):,} subjects, {few:,} of them with fewer than {FEW} questions; least: {subject or 'unnamed'} of {task}, {scored(least)} % of {least.n:,}."
    )
    return replace(SUBJECTS, state=State.OPEN if few else State.DONE, finding=finding, evidence=(SUMMARY,))


def _base(summary: EvaluationSummary) -> Item:
    compared = [(task.task, task.comparison) for task in summary.tasks if task.comparison and not task.seen]
    compared += [(f"{text.task} {metric}", one) for text in summary.texts if not text.seen for metric, one in text.comparisons.items()]
    if not compared:
        return replace(BASE, finding="Not compared: there is no baseline on unseen questions.", evidence=(SUMMARY,))
    words = (f"{task} {100 * each.difference:+.1f} points [{100 * each.low:+.1f}, {100 * each.high:+.1f}], {each.verdict}" for task, each in compared)
    worse = any(each.beyond_noise and each.difference < 0 for _, each in compared)
    return replace(BASE, state=State.FAILED if worse else State.DONE, finding=f"{'; '.join(words)}.", evidence=(SUMMARY,))


def _forgetting(summary: EvaluationSummary) -> Item:
    unseen = [change for change in summary.changes if not change.seen]
    if not unseen:
        return replace(FORGETTING, finding=NOT_MEASURED, evidence=(SUMMARY,))
    lost = [change for change in unseen if change.forgotten]
    surely = [change for change in lost if change.comparison.beyond_noise]
    finding = f"{len(lost):,} of {len(unseen):,} tasks, languages and subjects lost more than the threshold, {len(surely):,} of them beyond noise."
    state = State.FAILED if surely else State.OPEN if lost else State.DONE
    return replace(FORGETTING, state=state, finding=finding, evidence=(SUMMARY,))


def _calibration(unseen: list[TaskScores]) -> Item:
    found = [(task.task, task.tuned_calibration) for task in unseen if task.tuned_calibration]
    if not found:
        return replace(CALIBRATION, finding=NOT_MEASURED, evidence=(SUMMARY,))
    words = (f"{task} {percent(each.error)} [{percent(each.low)}, {percent(each.high)}]" for task, each in found)
    return replace(CALIBRATION, state=State.DONE, finding=f"Expected calibration error: {'; '.join(words)}.", evidence=(SUMMARY,))


def _orders(unseen: list[TaskScores]) -> Item:
    found = [(task.task, task.tuned_orders) for task in unseen if task.tuned_orders]
    if not found:
        return replace(ORDERS, finding="Not measured: each unseen question was asked in one order.", evidence=(SUMMARY,))
    words = (f"{task} the same option in all {each.orders} orders in {percent(each.consistent)} of questions" for task, each in found)
    return replace(ORDERS, state=State.DONE, finding=f"{'; '.join(words)}.", evidence=(SUMMARY,))


def _free_text(summary: EvaluationSummary) -> Item:
    """Open either way: no metric of ours finds harm."""
    if not summary.texts:
        return replace(FREE_TEXT, finding="Not measured: only letters were asked for.", evidence=(SUMMARY,))
    words = (f"{text.task}: {', '.join(f'{metric} {percent(mean.mean)}' for metric, mean in text.tuned.items())}" for text in summary.texts)
    return replace(FREE_TEXT, finding=f"{'; '.join(words)}. Harmful advice was not searched for.", evidence=(SUMMARY,))
