"""What a run measured, as tables for a person: accuracy with its n and interval, what tuning changed, the mixture, and what packing gained."""

from __future__ import annotations

from collections.abc import Iterator

from medfinetune_api.results import PackingReport, Prepared
from medfinetune_api.results_evaluation import Change, EvaluationSummary, Mean, Score, TaskScores, TextScores
from rich.table import Table


def results_table(summary: EvaluationSummary) -> Table:
    """Accuracy of base and tuned model on the same questions, by task and by subject, with Wilson 95 % intervals; and means of answers in words, by metric.

    Beside each task how many of its questions resemble training records.
    """
    table = Table(title="Results: accuracy in % with a Wilson 95 % interval", title_justify="left")
    for name in ("task", "language", "subject"):
        table.add_column(name)
    for name in ("n", "alike", "base", "tuned"):
        table.add_column(name, justify="right")
    table.caption, table.caption_justify = "alike: questions that resemble training records; - where none were compared", "left"
    for task in summary.tasks:
        for row in _task_rows(task):
            table.add_row(*row)
        table.add_section()
    for text in summary.texts:
        for row in _text_rows(text):
            table.add_row(*row)
        table.add_section()
    return table


def _text_rows(text: TextScores) -> Iterator[tuple[str, ...]]:
    for number, (metric, tuned) in enumerate(text.tuned.items()):
        label = (text.task, text.language) if not number else ("", "")
        yield *label, f"mean {metric}", str(tuned.n), _alike(text) if not number else "", _mean(text.base.get(metric)), _mean(tuned)


def _task_rows(task: TaskScores) -> Iterator[tuple[str, ...]]:
    asked = f"{task.questions}" if task.questions == task.available else f"{task.questions} of {task.available}"
    yield task.task, task.language, "all, trained on" if task.seen else "all", asked, _alike(task), _score(task.base), _score(task.tuned)
    if len(task.tuned_by_subject) > 1:
        for subject, tuned in task.tuned_by_subject.items():
            yield "", "", subject, str(tuned.n), "", _score(task.base_by_subject.get(subject)), _score(tuned)


def _alike(scores: TaskScores | TextScores) -> str:
    return f"{scores.clean.contaminated:,}" if scores.clean else "-"


def changes_table(summary: EvaluationSummary) -> Table:
    """What tuning changed by language, task and subject, and whether that is more than noise; of subjects those that are more than noise, or forgotten."""
    shown = [row for row in summary.changes if row.subject is None or row.forgotten or row.comparison.beyond_noise]
    left = len(summary.changes) - len(shown)
    table = Table(title="Change in points with a paired 95 % interval; p by Holm over all rows", title_justify="left")
    table.caption, table.caption_justify = f"{left:,} subjects within noise are in report.html" if left else None, "left"
    for name in ("task", "language", "subject", "measured by"):
        table.add_column(name)
    for name in ("n", "change", "p", "smallest shown"):
        table.add_column(name, justify="right")
    table.add_column("that is")
    for row in shown:
        table.add_row(*_change_row(row))
    return table


def _change_row(row: Change) -> tuple[str, ...]:
    one = row.comparison
    change = f"{100 * one.difference:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"
    p = "< 0.001" if one.p_holm < 0.001 else f"{one.p_holm:.3f}"
    verdict = f"forgotten, {one.verdict}" if row.forgotten else one.verdict
    task = f"{row.task}, trained on" if row.task and row.seen else row.task or "all unseen"
    return task, row.language, row.subject or "all", row.metric, f"{one.n:,}", change, p, f"{100 * one.smallest:.1f}", verdict


def _mean(found: Mean | None) -> str:
    return "-" if found is None else f"{100 * found.mean:5.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def _score(score: Score | None) -> str:
    return "-" if score is None else f"{100 * score.accuracy:5.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def mixture_table(prepared: Prepared) -> Table:
    """What an epoch trains on, by source."""
    table = Table(title="Mixture: one epoch", title_justify="left")
    for name in ("source", "language", "domain"):
        table.add_column(name)
    for name in ("read", "held out", "over-long", "left out", "samples", "tokens", "share"):
        table.add_column(name, justify="right")
    for one in prepared.sources:
        counts = (one.samples_read, one.validation, one.over_long, one.mixed_out, one.samples, one.tokens)
        table.add_row(one.name, one.language, one.domain, *(f"{count:,}" for count in counts), f"{one.share:.1%}")
    return table


def packing_line(packing: PackingReport) -> str:
    """What packing gained, in one line."""
    return (
        f"Packing: {packing.rows_unpacked:,} rows -> {packing.rows:,}, efficiency {packing.efficiency_unpacked:.1%} -> {packing.efficiency:.1%}, "
        f"steps an epoch {packing.steps_per_epoch_unpacked:,} -> {packing.steps_per_epoch:,}"
    )
