"""What a manifest says about records: where they lie, how they are screened, held out, mixed, templated and packed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medfinetune_api import rules
from medfinetune_api.base import Contract
from medfinetune_api.choices import AccessMode, AnswerStyle, ChatTemplate, Format, LossOn, MixBy, MixFill, MixUnit, Overlong, Packing
from medfinetune_api.ruled import Ruled
from medfinetune_api.scalars import (
    ENTRIES,
    ClaimName,
    ColumnName,
    HeldOut,
    Label,
    LanguageTag,
    MemoryQuantity,
    Name,
    OptionColumns,
    Ratio,
    RelativePath,
    RowLength,
    Strata,
)
from medfinetune_api.spec_screening import DecontaminationSpec, PrivacySpec


class ClaimSpec(Contract):
    """A PersistentVolumeClaim in the run's own namespace."""

    claim_name: ClaimName
    """Name of the PersistentVolumeClaim."""


class ClaimTemplateSpec(Contract):
    """A PersistentVolumeClaim that the operator makes for the run, `<name>-<uid8>`, and never deletes."""

    storage: MemoryQuantity
    """Size of the volume, such as 100Gi."""
    storage_class_name: ClaimName | None = None
    """StorageClass. Default: the administrator's, or else the cluster's."""
    access_modes: Annotated[tuple[AccessMode, ...], Field(min_length=1, max_length=3)] = (AccessMode.READ_WRITE_ONCE,)
    """How many nodes may mount it; ReadWriteMany where parallelism.nodes is above 1. Default [ReadWriteOnce]."""


class OutputVolumeSpec(Ruled):
    """A volume for results: an existing claim, or one that is made for the run. The local executor maps it to a folder of this machine (`--output`)."""

    rules = (rules.ONE_OUTPUT_VOLUME,)

    persistent_volume_claim: ClaimSpec | None = None
    """The claim that receives the files."""
    claim_template: ClaimTemplateSpec | None = None
    """The claim to make; it outlives the run."""


class VolumeSpec(Contract):
    """A volume. The local executor maps it to a folder of this machine (`--models`, `--data`, `--output`)."""

    persistent_volume_claim: ClaimSpec
    """The claim that holds the files; other kinds of volume are not accepted."""


class ColumnsSpec(Ruled):
    """Where an `Exam` file keeps what: CSV columns, or keys of JSON objects."""

    rules = (rules.OPTION_COLUMNS_UNIQUE,)

    question: ColumnName
    """Column of the question's text."""
    options: OptionColumns
    """Columns of the answer options in the order of their letters; a single one names a column that holds all of them as a list or an object. 1 to 26."""
    answer: ColumnName
    """Column of the right answer; of several, a list, or letters or numbers with commas between."""
    answer_style: AnswerStyle = AnswerStyle.LETTER
    """How the answer is written: Letter (A is the first option), Number (1 is the first), Index (0 is the first), Text (the option's own words)."""
    subject: ColumnName | None = None
    """Column of the subject that scores are broken down by; none where absent."""
    year: ColumnName | None = None
    """Column of the examination's year in four digits, that scores are broken down by too; none where absent."""
    id: ColumnName | None = None
    """Column of the record's identifier; records are counted by line where absent."""


class SourceSpec(Ruled):
    """One file of records."""

    rules = (rules.COLUMNS_WITH_EXAM,)

    name: Name
    """Name of the source in tables and metrics; unique among the sources. A DNS label of at most 63 characters."""
    path: RelativePath
    """File below the data volume's root; `.gz` is decompressed."""
    format: Format
    """How the file is laid out."""
    language: LanguageTag
    """Language of the records, a BCP 47 tag such as en or ko. Quote \"no\" (Norwegian): YAML reads it as false."""
    domain: Label = "medical"
    """Domain of the records, for a mixture by Domain. Default medical."""
    subject: Label | None = None
    """Subject of every record where the file names none, such as nurse; none where absent."""
    columns: ColumnsSpec | None = None
    """Where an Exam file keeps what; with format Exam, and only there."""


class ValidationSpec(Ruled):
    """The records that are never trained on and measure the loss after each epoch."""

    rules = (rules.FRACTION_OR_SOURCES, rules.STRATIFY_WITH_FRACTION, rules.STRATA_UNIQUE, rules.SOURCE_NAMES_UNIQUE, rules.SOURCE_PATHS_UNIQUE)

    fraction: HeldOut | None = None
    """Share of the training records to hold out, 0 to 0.5; 0 holds none out. Default 0.1, unless sources are given."""
    stratify_by: Strata | None = None
    """What the held-out share keeps in proportion. Default [Language, Subject]."""
    sources: Annotated[tuple[SourceSpec, ...], Field(min_length=1, max_length=ENTRIES)] | None = None
    """Files to validate on in place of a fraction, 1 to 64, each once; none of them may be trained on."""


class MixtureSpec(Contract):
    """In what proportion the sources are trained on."""

    by: MixBy
    """What the ratio's names are: Language, Source or Domain."""
    ratio: Ratio
    """Parts by name, 0.01 to 1000 each, such as {en: 5, ko: 5}; names every language, domain or source of data.sources and no other."""
    unit: MixUnit = MixUnit.SAMPLES
    """What the ratio counts: Samples or Tokens. Default Samples."""
    fill: MixFill = MixFill.DOWNSAMPLE
    """How the ratio is reached: Downsample leaves records of the larger side out, Repeat takes those of the smaller side again. Default Downsample."""


class DataSpec(Ruled):
    """The records, and how they become training rows."""

    rules = (rules.SOURCE_NAMES_UNIQUE, rules.SOURCE_PATHS_UNIQUE, rules.VALIDATION_APART, rules.RATIO_NAMES_EXIST, rules.RATIO_NAMES_ALL)

    volume: VolumeSpec
    """Where the files of sources and evaluation tasks lie."""
    sources: Annotated[tuple[SourceSpec, ...], Field(min_length=1, max_length=ENTRIES)]
    """Files to train on, 1 to 64, each once."""
    validation: ValidationSpec | None = None
    """What is held out. Default: a tenth of the records, in proportion to languages and subjects."""
    mixture: MixtureSpec | None = None
    """In what proportion the sources are trained on. Default: every record once an epoch."""
    max_length: RowLength | None = None
    """Length of a packed row in tokens, 16 to 131072. Default: the preset's, or 2048."""
    packing: Packing | None = None
    """How documents share rows: BestFit, or None for one document a row. Default: the preset's, or BestFit."""
    loss_on: LossOn | None = None
    """Which tokens carry loss: Response, or All. Default: the preset's, or Response."""
    overlong: Overlong = Overlong.ERROR
    """What becomes of a record longer than maxLength: Error refuses it, Drop leaves it out, Truncate cuts its end; the last two are counted. Default Error."""
    privacy: PrivacySpec = PrivacySpec()
    """What is looked for in the training records before anything is trained. Default: findings are counted and reported."""
    decontamination: DecontaminationSpec = DecontaminationSpec()
    """How training records and evaluation questions are compared. Default: resemblances are counted and reported."""
    chat_template: ChatTemplate | None = None
    """Which template turns messages into text: Tokenizer (the model's own) or Med42 (three roles). Default: the preset's, or Tokenizer."""
