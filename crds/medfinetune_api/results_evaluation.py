"""`evaluation/summary.json`: what base and tuned model answered, and what that is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from medfinetune_api.base import Contract
from medfinetune_api.choices import GateMetric
from medfinetune_api.results_calibration import Abstention, Calibration
from medfinetune_api.scalars import ENTRIES, Count, Fraction, Label, LanguageTag, Name, OptionOrders, Sha256

Difference = Annotated[float, Field(ge=-1, le=1)]
SubjectName = Annotated[str, Field(max_length=131072)]
"""As the data file writes it, which bounds it by the longest cell that Python's CSV reader takes."""
GroupLabel = Annotated[str, Field(max_length=256)]
MetricName = Annotated[str, Field(max_length=32)]
"""A `choices.TextMetric`."""


class Score(Contract):
    """Accuracy over n questions with a Wilson 95 % interval."""

    n: Count
    """Questions asked."""
    accuracy: Fraction
    """Share answered rightly, 0 to 1."""
    low: Fraction
    """Lower end of the interval."""
    high: Fraction
    """Upper end of the interval."""


class Mean(Contract):
    """Mean of a measurement over n answers with a bootstrap 95 % interval."""

    n: Count
    """Answers measured."""
    mean: Fraction
    """0 to 1."""
    low: Fraction
    """Lower end of the interval."""
    high: Fraction
    """Upper end of the interval."""


class Comparison(Contract):
    """The tuned model against another on the same questions."""

    n: Count
    """Questions that both answered."""
    gained: Count
    """Right now, wrong before; for a mean, answers that are measured higher."""
    lost: Count
    """Wrong now, right before; for a mean, answers that are measured lower."""
    difference: Difference
    """Now less before."""
    low: Difference
    """Lower end of its 95 % interval, by paired bootstrap; wide where questions are few, also where no answer changed."""
    high: Difference
    """Upper end of its 95 % interval."""
    p: Fraction
    """Of McNemar's exact test; for a mean, of the paired bootstrap."""
    p_holm: Fraction
    """p corrected by Holm's method over the tasks of this run; in a Change over the rows of its table."""
    smallest: Fraction
    """Smallest difference that this many questions would have shown in 4 of 5 runs, at 5 % two-sided."""
    beyond_noise: bool
    """Whether p_holm is at most 0.05."""

    @property
    def verdict(self) -> str:
        """The same in the words of every output."""
        return "beyond noise" if self.beyond_noise else "within noise"


class Orders(Contract):
    """The same questions with their options in several orders."""

    orders: OptionOrders
    """Orders asked."""
    accuracy: Score
    """Over all orders; n and the interval count each question once, because its answers in several orders depend on one another."""
    consistent: Fraction
    """Share of questions whose chosen option is the same in every order."""
    chosen_letters: Annotated[tuple[Fraction, ...], Field(max_length=26)]
    """Share of answers that name each letter, A first: equal shares where no letter is preferred and all questions have as many options."""


class CodeMixing(Contract):
    """English words in answers of another language."""

    n: Count
    """Answers with at least one word."""
    answers: Fraction
    """Share of answers with an English word that the reference does not have."""
    words: Fraction
    """Share of all words."""


class GlossaryUse(Contract):
    """A site's terms in answers whose references have them."""

    expected: Count
    """Occurrences in the references."""
    base: Count | None = None
    """Of these, in the untuned base's answers; absent without a baseline."""
    tuned: Count
    """In the tuned model's answers."""
    lost: Count
    """In the base's answers and not in the tuned model's."""


ByMetric = Annotated[Mapping[MetricName, Mean], Field(max_length=5)]


class Clean(Contract):
    """An examination without the questions that resemble training records (Med42, section on decontamination)."""

    contaminated: Count
    """Questions left out."""
    base: Score | None = None
    """Of the untuned base on the others; absent without a baseline, or where none is left."""
    tuned: Score | None = None
    """Of the tuned model on the others; absent where none is left."""
    before_base: Score | None = None
    """Of the untuned base with those that were removed from the evaluation; absent without a baseline, or where none were: then the headline has them."""
    before_tuned: Score | None = None
    """Of the tuned model with those that were removed from the evaluation; absent where none were."""


class CleanText(Contract):
    """A task whose answers are text without the questions that resemble training records."""

    contaminated: Count
    """Questions left out."""
    base: ByMetric
    """Of the untuned base on the others; empty without a baseline, or where none is left."""
    tuned: ByMetric
    """Of the tuned model on the others; empty where none is left."""
    before_base: ByMetric = Field(default_factory=dict)
    """Of the untuned base with those that were removed from the evaluation; empty without a baseline, or where none were: then the headline has them."""
    before_tuned: ByMetric = Field(default_factory=dict)
    """Of the tuned model with those that were removed from the evaluation; empty where none were."""


BySubject = Annotated[Mapping[SubjectName, Score], Field(max_length=1_000_000)]
ByGroup = Annotated[Mapping[GroupLabel, Score], Field(max_length=1024)]
ByLanguage = Annotated[Mapping[LanguageTag, Score], Field(max_length=ENTRIES)]


class TaskScores(Contract):
    """One examination, base and tuned on the same questions. What is of the base is absent, or empty, without a baseline."""

    task: Name
    """Name of the task."""
    language: LanguageTag
    """BCP 47 language tag."""
    version: Label
    """Task version, as lm-evaluation-harness records it."""
    questions: Count
    """Questions asked."""
    available: Count
    """Questions in the file."""
    seen: bool
    """Whether these questions are trained on: their accuracy is in no language's."""
    base: Score | None = None
    """Of the untuned base."""
    tuned: Score
    """Of the tuned model."""
    base_by_subject: BySubject
    """Of the untuned base, by subject."""
    tuned_by_subject: BySubject
    """Of the tuned model, by subject."""
    base_by_group: ByGroup = Field(default_factory=dict)
    """Of the untuned base, by what else tells questions apart: `year=2022`, `law=yes`."""
    tuned_by_group: ByGroup = Field(default_factory=dict)
    """Of the tuned model, likewise."""
    comparison_by_group: Annotated[Mapping[GroupLabel, Comparison], Field(max_length=1024)] = Field(default_factory=dict)
    """The tuned model against the base in each of these; p_holm over them."""
    comparison: Comparison | None = None
    """The tuned model against the base."""
    base_calibration: Calibration | None = None
    """Of the untuned base, where letters are scored by likelihood."""
    tuned_calibration: Calibration | None = None
    """Of the tuned model, likewise."""
    abstention: Abstention = ()
    """Of the tuned model, likewise."""
    base_orders: Orders | None = None
    """Of the untuned base, where more than one order was asked."""
    tuned_orders: Orders | None = None
    """Of the tuned model, likewise."""
    clean: Clean | None = None
    """Without the questions that resemble training records; absent where nothing was compared."""


class TextScores(Contract):
    """One task whose answers are text, base and tuned on the same questions. What is of the base is absent, or empty, without a baseline."""

    task: Name
    """Name of the task."""
    language: LanguageTag
    """BCP 47 language tag."""
    version: Label
    """Task version, as lm-evaluation-harness records it."""
    questions: Count
    """Questions asked."""
    available: Count
    """Questions in the file."""
    seen: bool
    """Whether these questions are trained on."""
    base: ByMetric
    """Of the untuned base."""
    tuned: ByMetric
    """Of the tuned model."""
    comparisons: Annotated[Mapping[MetricName, Comparison], Field(max_length=5)] = Field(default_factory=dict)
    """The tuned model against the base."""
    base_code_mixing: CodeMixing | None = None
    """Of the untuned base, in languages that are not written in Latin letters."""
    tuned_code_mixing: CodeMixing | None = None
    """Of the tuned model, likewise."""
    glossary: GlossaryUse | None = None
    """Where the manifest names a glossary of this language."""
    clean: CleanText | None = None
    """Without the questions that resemble training records; absent where nothing was compared."""


class Change(Contract):
    """What fine-tuning changed in one task, language or subject (the study's forgetting)."""

    task: Name | None = None
    """The task; absent for a language."""
    language: LanguageTag
    """The language."""
    subject: SubjectName | None = None
    """The subject of the task; absent for the whole task."""
    seen: bool = False
    """Whether these questions are trained on."""
    metric: GateMetric = GateMetric.ACCURACY
    """What was measured: Accuracy of questions with options, a TextMetric of answers in words."""
    before: Score | Mean
    """Of the untuned base; a Mean where answers are text."""
    after: Score | Mean
    """Of the tuned model, likewise."""
    comparison: Comparison
    """After against before; p_holm over all rows of the table."""
    forgotten: bool
    """Whether more was lost than `evaluation.forgettingThreshold`, be it beyond the noise or not: `comparison` says that."""


class EvaluationSummary(Contract):
    """`evaluation/summary.json`. Written last, so that its presence means evaluate is complete."""

    plan_sha256: Sha256
    """Hash of the plan it belongs to."""
    tasks: Annotated[tuple[TaskScores, ...], Field(max_length=ENTRIES)]
    """One entry an examination, in the plan's order."""
    texts: Annotated[tuple[TextScores, ...], Field(max_length=ENTRIES)] = ()
    """One entry a task whose answers are text, in the plan's order."""
    base_by_language: ByLanguage
    """Of the untuned base over all unseen tasks of a language; empty without a baseline."""
    tuned_by_language: ByLanguage
    """Of the tuned model over all unseen tasks of a language."""
    changes: Annotated[tuple[Change, ...], Field(max_length=1_000_000)] = ()
    """Every language, task, and subject of a task that names several, before and after, by what was measured; empty without a baseline."""

    @property
    def exam_changes(self) -> tuple[Change, ...]:
        """The changes of accuracy alone."""
        return tuple(row for row in self.changes if row.metric is GateMetric.ACCURACY)
