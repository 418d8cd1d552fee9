"""RunPlan's part on records: what is read, how it is screened, and how it becomes training rows."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medfinetune_api.base import Contract
from medfinetune_api.choices import AnswerStyle, ChatTemplate, Format, LossOn, MixBy, MixFill, MixUnit, Overlong, Packing
from medfinetune_api.plan_screening import DecontaminationPlan, PrivacyPlan
from medfinetune_api.scalars import (
    ENTRIES,
    ColumnName,
    HeldOut,
    Label,
    LanguageTag,
    Name,
    OptionColumns,
    Ratio,
    RelativePath,
    RowLength,
    Strata,
)


class ColumnsPlan(Contract):
    """Where an `Exam` file keeps what. `options` is one column that holds a list or an object, or one column an option."""

    question: ColumnName
    """Column of the question's text."""
    options: OptionColumns
    """Columns of the options, in the order of their letters."""
    answer: ColumnName
    """Column of the right answer; of several, a list, or letters or numbers with commas between."""
    answer_style: AnswerStyle
    """How the answer is written."""
    subject: ColumnName | None = None
    """Column of the subject; None where the file has none."""
    year: ColumnName | None = None
    """Column of the examination's year; None where the file has none."""
    id: ColumnName | None = None
    """Column of the record's identifier; None counts by line."""


class SourcePlan(Contract):
    """One file of records."""

    name: Name
    """Unique among the sources."""
    path: RelativePath
    """File relative to `mounts.data`; `.gz` is decompressed."""
    format: Format
    """How the file is laid out."""
    language: LanguageTag
    """BCP 47 language tag."""
    domain: Label
    """What a mixture by Domain counts it under."""
    subject: Label | None = None
    """Subject of every record, where the file names none."""
    columns: ColumnsPlan | None = None
    """Of an `Exam` file; None for the other formats."""


class ValidationPlan(Contract):
    """The records that are never trained on."""

    fraction: HeldOut
    """Share of the records of `sources` held out, 0 to 0.5; 0 where `sources` is given."""
    stratify_by: Strata
    """What the held-out share keeps in proportion."""
    sources: Annotated[tuple[SourcePlan, ...], Field(max_length=ENTRIES)]
    """Files to validate on; empty where a fraction is held out."""


class MixturePlan(Contract):
    """In what proportion the sources are trained on."""

    by: MixBy
    """What the ratio's names are."""
    ratio: Ratio
    """Parts by name; names every group of the sources and no other."""
    unit: MixUnit
    """What the ratio counts."""
    fill: MixFill
    """How the ratio is reached."""


class DataPlan(Contract):
    """The records, and how they become training rows."""

    sources: Annotated[tuple[SourcePlan, ...], Field(max_length=ENTRIES)]
    """Files to train on."""
    validation: ValidationPlan
    """What is held out."""
    mixture: MixturePlan | None = None
    """None trains on every record once an epoch."""
    max_length: RowLength
    """Length of a packed row in tokens."""
    packing: Packing
    """How documents share rows."""
    loss_on: LossOn
    """Which tokens carry loss."""
    overlong: Overlong
    """What becomes of a record longer than `max_length`."""
    privacy: PrivacyPlan
    """What is looked for in the training records."""
    decontamination: DecontaminationPlan
    """How training records and evaluation questions are compared."""
    chat_template: ChatTemplate
    """Which template turns messages into text."""
