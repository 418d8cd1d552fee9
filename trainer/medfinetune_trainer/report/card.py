"""The model card: README.md beside the trained weights, with the front matter that Hugging Face's tools read. Names, counts and figures; no record text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence

from medfinetune_api.choices import Method
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import Prepared
from medfinetune_api.results_evaluation import Comparison, EvaluationSummary, Score
from medfinetune_api.results_privacy import PrivacyReport
from medfinetune_api.results_screening import ContaminationReport

from medfinetune_trainer.report import differences, texts
from medfinetune_trainer.report.calibration import calibration_error
from medfinetune_trainer.report.checklist import markdown
from medfinetune_trainer.report.checklist_items import Item
from medfinetune_trainer.report.contamination import contaminated_rows, contamination_words
from medfinetune_trainer.report.elements import LONGEST, shown
from medfinetune_trainer.report.forgetting import told
from medfinetune_trainer.report.gates import NOT_JUDGED, Judgement, measured
from medfinetune_trainer.report.plan_facts import FULL_NAMES, method_facts, mixture_words
from medfinetune_trainer.report.privacy import privacy_words
from medfinetune_trainer.report.words import FEW, LIMITS, NOT_FOR_CLINICAL_DECISIONS, percent, scored

WORST = 20
"""Rows of what was forgotten at most; report.html has all."""
LONGEST_DECISION = 4096
"""Characters of a heading, a releaser's words or a gate's sentence: their own bounds are narrower."""
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#!|~&$@])")
_PEFT = (Method.QLORA, Method.LORA, Method.PREFIX_TUNING)
_BOTTLENECK = "medfinetune_trainer.model.bottleneck"


def card(
    plan: RunPlan,
    prepared: Prepared,
    summary: EvaluationSummary,
    whole: bool,
    judgement: Judgement = NOT_JUDGED,
    privacy: PrivacyReport | None = None,
    checks: Sequence[Item] = (),
    contamination: ContaminationReport | None = None,
) -> str:
    """The card as Markdown. `whole`: it lies beside whole weights, not beside an adapter."""
    parts = (
        _front(plan, prepared, whole),
        f"# {_text(plan.identity.name)}",
        *_judged(judgement),
        f"**{NOT_FOR_CLINICAL_DECISIONS}**",
        f"{_text(plan.model.path)}, tuned by {FULL_NAMES[plan.tuning.method]} on the sources below, with medfinetune.",
        *_results(summary),
        *_in_words(summary),
        *_changed(summary, plan.evaluation.forgetting_threshold),
        *_contamination(contamination, summary),
        *_gates(judgement),
        "## Data",
        f"Mixture: {_text(mixture_words(plan))}. The records themselves are not part of this model's files.",
        _table(("source", "language", "domain", "read", "held out", "trained on, an epoch", "tokens", "share"), _sources(prepared)),
        _text(privacy_words(plan, privacy), LONGEST_DECISION),
        "## Method",
        _table(("", ""), ((_text(term), _text(value)) for term, value in method_facts(plan))),
        f"Plan, SHA-256: `{plan.sha256}`. Base weights, SHA-256: `{prepared.weights_sha256}`. Steps: {prepared.total_steps:,}.",
        *(("## Before it is used", markdown(checks, plain)) if checks else ()),
        "## How to load it",
        _loading(plan, whole),
        "## Limits",
        "\n".join(f"- {limit}" for limit in LIMITS),
    )
    return "\n\n".join(parts) + "\n"


def _front(plan: RunPlan, prepared: Prepared, whole: bool) -> str:
    """YAML of JSON strings, which are YAML's too: no name can end one."""
    languages = sorted({source.language for source in (*plan.data.sources, *plan.data.validation.sources)})
    library = "transformers" if whole else "peft" if plan.tuning.method in _PEFT else "medfinetune"
    fields = {
        "base_model": plan.model.path,
        "language": languages,
        "library_name": library,
        "pipeline_tag": "text-generation",
        "tags": ["medical", "medfinetune", str(plan.tuning.method).lower()],
    }
    return "\n".join(("---", *(f"{name}: {json.dumps(value)}" for name, value in fields.items()), "---"))


def _results(summary: EvaluationSummary) -> Iterator[str]:
    yield "## Results"
    if not summary.tasks:
        yield from () if summary.texts else ("No task was named: nothing is known of what this model is worth.",)
        return
    yield f"Accuracy in per cent, zero-shot, with n and Wilson 95 % intervals; base and tuned answered the same questions. * marks fewer than {FEW} questions."
    head, compared = ("n", "base", "tuned", *differences.HEAD), {row.language: row.comparison for row in summary.exam_changes if row.task is None}
    languages = [
        (_text(language), *_scores(summary.base_by_language.get(language), score, compared.get(language)))
        for language, score in summary.tuned_by_language.items()
    ]
    if languages:
        yield _table(("language", *head), languages)
    yield _table(
        ("task", "version", "language", "trained on", *head),
        (
            (
                _text(task.task),
                _text(task.version),
                _text(task.language),
                "yes" if task.seen else "no",
                *_scores(task.base, task.tuned, task.comparison),
            )
            for task in summary.tasks
        ),
    )


def _in_words(summary: EvaluationSummary) -> Iterator[str]:
    """What answers in the model's own words measure."""
    if summary.texts:
        head = ("task", "version", "language", "trained on", "measured by", "n", "base", "tuned", *differences.HEAD)
        named = [(text, (_text(text.task), _text(text.version), _text(text.language), "yes" if text.seen else "no")) for text in summary.texts]
        yield texts.KEY
        yield _table(head, ((*name, metric, *texts.compared(text, metric, mean)) for text, name in named for metric, mean in text.tuned.items()))


def _scores(base: Score | None, tuned: Score, comparison: Comparison | None) -> tuple[str, ...]:
    return _n(tuned.n), scored(base), scored(tuned), *differences.change_or_gain(comparison, base, tuned)


def _changed(summary: EvaluationSummary, threshold: float) -> Iterator[str]:
    """What was forgotten, and whether the model is as often right as it is sure."""
    if summary.changes:
        yield differences.KEY
        yield told(summary.changes, threshold)
    forgotten = sorted((row for row in summary.changes if row.forgotten), key=lambda row: row.comparison.difference)[:WORST]
    if forgotten:
        rows = (
            (
                _text(row.task or "all unseen"),
                row.language,
                _text(row.subject or "all"),
                row.metric,
                _n(row.after.n),
                scored(row.before),
                scored(row.after),
                *differences.difference(row.comparison),
            )
            for row in forgotten
        )
        yield _table(("forgotten: task", "language", "subject", "measured by", "n", "base", "tuned", *differences.HEAD), rows)
    errors = [(_text(task.task), calibration_error(task.base_calibration), calibration_error(task.tuned_calibration)) for task in summary.tasks]
    if any(task.tuned_calibration for task in summary.tasks):
        yield "Expected calibration error in percentage points, with its bootstrap 95 % interval: how far confidence and accuracy lie apart."
        yield _table(("task", "base", "tuned"), errors)


def _judged(judgement: Judgement) -> Iterator[str]:
    """What nobody who opens the card may miss."""
    if judgement.heading:
        yield f"# ⚠ {_text(judgement.heading, LONGEST_DECISION)}"
    if judgement.decision:
        yield f"**{_text(judgement.decision, LONGEST_DECISION)}**"


def _gates(judgement: Judgement) -> Iterator[str]:
    if judgement.gates:
        yield "## Gates"
        rows = (
            (_text(outcome.gate.name), "yes" if outcome.passed else "**NO**", f"{outcome.n:,}", measured(outcome), _text(outcome.sentence, LONGEST_DECISION))
            for outcome in judgement.gates
        )
        yield _table(("gate", "holds", "n", "measured", "what was found"), rows)


def _contamination(report: ContaminationReport | None, summary: EvaluationSummary) -> Iterator[str]:
    yield "## Contamination"
    if report is None:
        yield "Questions and training records were not compared: an accuracy may be memory."
        return
    yield _text(contamination_words(report), LONGEST_DECISION)
    head = ("task", "questions", "alike", "share", "tuned", "tuned without them")
    if report.tasks:
        yield _table(head, ((_text(row[0]), *row[1:]) for row in contaminated_rows(report, summary)))


def _sources(prepared: Prepared) -> Iterator[tuple[str, ...]]:
    for one in prepared.sources:
        counts = (one.samples_read, one.validation, one.samples, one.tokens)
        yield _text(one.name), _text(one.language), _text(one.domain), *(f"{count:,}" for count in counts), percent(one.share)


def _loading(plan: RunPlan, whole: bool) -> str:
    if whole:
        lines = ['model = AutoModelForCausalLM.from_pretrained("this folder")']
    else:
        module, reader = ("peft", "PeftModel.from_pretrained") if plan.tuning.method in _PEFT else (_BOTTLENECK, "load_bottleneck")
        lines = [
            f"from {module} import {reader.split('.')[0]}",
            f"base = AutoModelForCausalLM.from_pretrained({json.dumps(shown(plan.model.path))})  # the base's own folder",
            f'model = {reader}(base, "this folder")',
        ]
    return "\n".join(("```python", "from transformers import AutoModelForCausalLM", *lines, "```"))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(value: str) -> str:
    """A sentence that may hold names, as Markdown that shows it as it is."""
    return _text(value, LONGEST_DECISION)


def _text(value: str, longest: int = LONGEST) -> str:
    """A name as text: no character of it is Markdown's."""
    cut = value if len(value) <= longest else value[: longest - 1] + "…"
    return _MARKDOWN.sub(r"\\\1", shown(cut).replace("\n", " "))


def _n(count: int) -> str:
    return f"{count:,}" + (r"\*" if count < FEW else "")
