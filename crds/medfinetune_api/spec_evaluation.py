"""What a manifest says about judgement: what is asked, how it is scored, and what must hold before the adapter is released."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medfinetune_api import rules, rules_evaluation
from medfinetune_api.base import Contract
from medfinetune_api.choices import DecidedBy, Format, GateMetric, Scoring, TextMetric
from medfinetune_api.ruled import Ruled
from medfinetune_api.scalars import (
    ENTRIES,
    BatchSize,
    Fraction,
    Label,
    LanguageTag,
    Limit,
    Name,
    NewTokens,
    OptionOrders,
    RelativePath,
    Repeats,
)
from medfinetune_api.spec_data import ColumnsSpec


class TaskSpec(Ruled):
    """One examination or set of questions, asked of the base and of the tuned model."""

    rules = (
        rules_evaluation.TASK_IS_MEASURED,
        rules.COLUMNS_WITH_EXAM,
        rules_evaluation.METRICS_UNIQUE,
        rules_evaluation.CONSISTENCY_OVER_REPEATS,
        rules_evaluation.ORDERS_OF_LETTERS,
    )

    name: Name
    """Name of the task in results; unique among the tasks. A DNS label of at most 63 characters."""
    path: RelativePath
    """File below the data volume's root; `.gz` is decompressed."""
    format: Format
    """How the file is laid out. Questions with options (MedQA, KorMedMCQA, PubMedQA, MedMCQA, HeadQA, MMLU, USMLE, Exam) are scored by accuracy, others by
    `metrics`."""
    language: LanguageTag
    """Language of the questions, a BCP 47 tag such as en or ko."""
    subject: Label | None = None
    """Subject of every question where the file names none; none where absent."""
    columns: ColumnsSpec | None = None
    """Where an Exam file keeps what; with format Exam, and only there."""
    limit: Limit | None = None
    """Most questions asked, drawn by seed in proportion to the subjects, 1 to 1000000. Default: all."""
    seen: bool = False
    """Whether these questions are trained on, to show that training took: marked so wherever they are reported, and in no language's accuracy. A file that is
    trained on is refused without it. Default false."""
    scoring: Scoring = Scoring.LETTER
    """How questions with options are answered: Letter (likelihood of each option's letter) or Generation (the model writes, the letter it names is compared).
    Default Letter."""
    option_orders: OptionOrders = 1
    """Orders of the options in which each question is asked, 1 to 24: more than 1 tells knowledge from a preference for a letter. Default 1, as the file has
    them."""
    metrics: Annotated[tuple[TextMetric, ...], Field(max_length=5)] = ()
    """What answers in the model's own words are measured by: F1, EntityF1, RougeL, Bleu, Consistency; for formats without options, and only there."""
    repeats: Repeats = 1
    """Answers drawn for each question, for Consistency; 1 to 16. Default 1."""
    max_new_tokens: NewTokens = 256
    """Most tokens of an answer that the model writes, 1 to 4096. Default 256."""


class GlossarySpec(Contract):
    """A site's own terms, which answers should keep."""

    path: RelativePath
    """File below the data volume's root: one term a line."""
    language: LanguageTag
    """Language of the answers that are searched, a BCP 47 tag."""


class GateSpec(Ruled):
    """What must hold before the adapter is released."""

    rules = (
        rules_evaluation.GATE_HAS_ONE_SCOPE,
        rules_evaluation.GATE_SUBJECT_OF_TASK,
        rules_evaluation.GATE_HAS_ONE_BOUND,
        rules_evaluation.GATE_BOUND_FITS_METRIC,
        rules_evaluation.GATE_AGAINST_WITH_DROP,
    )

    name: Name
    """Name of the gate in reports; unique among the gates."""
    task: Name | None = None
    """Task that is looked at. Give a task or a language."""
    language: LanguageTag | None = None
    """Language whose unseen questions are looked at, over all tasks."""
    subject: Label | None = None
    """Subject of the task; the whole task where absent."""
    metric: GateMetric = GateMetric.ACCURACY
    """What is measured: Accuracy, F1, EntityF1, RougeL, Bleu, Consistency (more is better), CalibrationError, CodeMixing (less is better). A task,
    its subject or a language has those that its tasks measure; CodeMixing is of no subject. Default Accuracy."""
    minimum: Fraction | None = None
    """Least allowed, 0 to 1."""
    maximum: Fraction | None = None
    """Most allowed, 0 to 1; for CalibrationError and CodeMixing."""
    max_drop: Fraction | None = None
    """Most that may be lost against the untuned base, or against the run `against`, 0 to 1."""
    against: Name | None = None
    """Folder of another run on the output volume, whose tuned model answered the same questions. Default: the untuned base."""
    decided_by: DecidedBy = DecidedBy.INTERVAL
    """Interval: the worse end of the 95 % interval must hold, so that too few questions cannot pass. Estimate: the measured value alone. Default Interval."""


class EvaluationSpec(Ruled):
    """What the run is judged by."""

    rules = (
        rules.TASK_NAMES_UNIQUE,
        rules_evaluation.GATE_NAMES_UNIQUE,
        rules_evaluation.GATE_TASKS_EXIST,
        rules_evaluation.GATE_LANGUAGES_ASKED,
        rules_evaluation.DROP_NEEDS_BASELINE,
    )

    baseline: bool = True
    """Whether the untuned base answers the same questions. Default true."""
    batch_size: BatchSize = 8
    """Questions in one forward pass, 1 to 1024. Default 8."""
    tasks: Annotated[tuple[TaskSpec, ...], Field(max_length=ENTRIES)] = ()
    """Examinations, at most 64; without any, the adapter is delivered unjudged. Default none."""
    forgetting_threshold: Fraction = 0.05
    """Loss of accuracy against the base beyond which a task, language or subject is flagged as forgotten, 0 to 1. Default 0.05."""
    glossaries: Annotated[tuple[GlossarySpec, ...], Field(max_length=16)] = ()
    """Terms of the site that answers should keep. Default none."""
    gates: Annotated[tuple[GateSpec, ...], Field(max_length=ENTRIES)] = ()
    """What must hold before the adapter is released, at most 64; a run that fails one is Quarantined. Default none."""
