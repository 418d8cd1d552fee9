"""RunPlan's part on judgement: what is asked, how it is scored, and what must hold before the adapter is released."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medfinetune_api.base import Contract
from medfinetune_api.choices import DecidedBy, Format, GateMetric, Scoring, TextMetric
from medfinetune_api.plan_data import ColumnsPlan
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


class TaskPlan(Contract):
    """One examination or set of questions."""

    name: Name
    """Unique among the tasks."""
    path: RelativePath
    """File relative to `mounts.data`; `.gz` is decompressed."""
    format: Format
    """How the file is laid out."""
    language: LanguageTag
    """BCP 47 language tag."""
    subject: Label | None = None
    """Subject of every question, where the file names none."""
    columns: ColumnsPlan | None = None
    """Of an `Exam` file; None for the other formats."""
    limit: Limit | None = None
    """Most questions asked, drawn by seed and in proportion to the subjects; None asks all."""
    seen: bool
    """Whether these questions are trained on: their accuracy is in no language's."""
    scoring: Scoring
    """How questions with options are answered."""
    option_orders: OptionOrders
    """Orders of the options in which each question is asked."""
    metrics: Annotated[tuple[TextMetric, ...], Field(max_length=5)]
    """What answers in the model's own words are measured by; empty where questions have options."""
    repeats: Repeats
    """Answers drawn for each question."""
    max_new_tokens: NewTokens
    """Most tokens of an answer that the model writes."""


class GlossaryPlan(Contract):
    """A site's own terms, which answers should keep."""

    path: RelativePath
    """File relative to `mounts.data`: one term a line."""
    language: LanguageTag
    """Language of the answers that are searched."""


class GatePlan(Contract):
    """What must hold before the adapter is released. Exactly one of task and language is set, and one of the three bounds."""

    name: Name
    """Unique among the gates."""
    task: Name | None = None
    """Task that is looked at."""
    language: LanguageTag | None = None
    """Language whose unseen questions are looked at."""
    subject: Label | None = None
    """Subject of the task."""
    metric: GateMetric
    """What is measured."""
    minimum: Fraction | None = None
    """Least allowed."""
    maximum: Fraction | None = None
    """Most allowed."""
    max_drop: Fraction | None = None
    """Most that may be lost."""
    against: Name | None = None
    """Folder of the run that is compared with; None compares with the base."""
    decided_by: DecidedBy
    """What of the measurement must satisfy the gate."""


class EvaluationPlan(Contract):
    """What the run is judged by."""

    baseline: bool
    """Whether the untuned base answers the same questions."""
    batch_size: BatchSize
    """Questions in one forward pass."""
    tasks: Annotated[tuple[TaskPlan, ...], Field(max_length=ENTRIES)]
    """Examinations; without any, the adapter is delivered unjudged."""
    forgetting_threshold: Fraction
    """Loss of accuracy beyond which a task, language or subject is flagged."""
    glossaries: Annotated[tuple[GlossaryPlan, ...], Field(max_length=16)]
    """Terms of the site that answers should keep."""
    gates: Annotated[tuple[GatePlan, ...], Field(max_length=ENTRIES)]
    """What must hold before the adapter is released."""
