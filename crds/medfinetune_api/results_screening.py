"""What screening found: `contamination.json`, which names records by file and line and holds none of their text."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from medfinetune_api.base import Contract
from medfinetune_api.choices import DecontaminationAction, RemoveFrom
from medfinetune_api.scalars import ENTRIES, Count, Fraction, LanguageTag, Name, Sha256, Similarity

Place = Annotated[str, Field(max_length=1024)]
"""`file:line`, the file as the manifest names it."""
CLOSEST = 10
"""Records that are named of all that resemble a question."""


class Detection(StrEnum):
    """How two texts were found to be the same, the strictest first."""

    EXACT = "Exact"
    NORMALISED = "Normalised"
    NGRAM = "NGram"
    EMBEDDING = "Embedding"


class Unit(StrEnum):
    """What n-grams are made of."""

    WORDS = "Words"
    CHARACTERS = "Characters"


class ByDetection(Contract):
    """Counts by method; what several methods find counts under the strictest alone."""

    exact: Count = 0
    """The same to the letter."""
    normalised: Count = 0
    """The same but for case, width, white space, punctuation and the order of options; or every line of the question stands in the record so."""
    ngram: Count = 0
    """Enough n-grams in common, or enough of the question's in the record."""
    embedding: Count = 0
    """Close in meaning alone."""


class Alike(Contract):
    """A training record that resembles a question."""

    source: Name
    """Source of the record."""
    record: Place
    """Where it stands."""
    found_by: Detection
    """The strictest method that finds it."""
    similarity: Fraction
    """1 for Exact and Normalised, Jaccard similarity or, where greater, the share of the question that the record holds for NGram, cosine for Embedding."""


class FlaggedQuestion(Contract):
    """A question that resembles training records."""

    question: Place
    """Where it stands."""
    number: Annotated[int, Field(ge=1, le=9007199254740991)]
    """Its place among the records of its file, from 1: several may stand on one line."""
    found_by: Detection
    """The strictest method that finds one."""
    records: Count
    """Training records that it resembles."""
    alike: Annotated[tuple[Alike, ...], Field(max_length=CLOSEST)]
    """The closest of them."""


class SourceContamination(ByDetection):
    """Questions of a task that resemble records of one source."""

    source: Name
    """The source."""


class TaskContamination(Contract):
    """One evaluation task against all training sources."""

    task: Name
    """The task."""
    language: LanguageTag
    """Its language."""
    questions: Count
    """Questions in the file, each compared."""
    contaminated: Count
    """Of these, how many resemble a training record."""
    rate: Fraction
    """contaminated / questions."""
    sources: Annotated[tuple[SourceContamination, ...], Field(max_length=ENTRIES)]
    """By source; a question that resembles records of two counts in both."""
    flagged: Annotated[tuple[FlaggedQuestion, ...], Field(max_length=1_000_000)]
    """The questions themselves."""


class EmbeddingTrial(Contract):
    """Whether the embedding model tells unrelated texts apart."""

    used: bool
    """Whether it was used."""
    pairs: Count
    """Shuffled pairs that it was tried on: of every two texts of a sample."""
    unrelated_share: Fraction | None = None
    """Share of these whose cosine exceeds the threshold: above 0.01 the model is refused; absent where there were too few."""
    translations: Count | None = None
    """Of two languages: sentences with their translations that it was tried on; absent of one language."""
    translated_share: Fraction | None = None
    """Share of these whose cosine exceeds the threshold: below 0.9 the model is refused; absent where none are known."""


class LanguageMethods(Contract):
    """How texts of one language are compared."""

    language: LanguageTag
    """The language, without region or script."""
    unit: Unit
    """What its n-grams are made of."""
    n: Annotated[int, Field(ge=1, le=32)]
    """How many of them an n-gram has."""
    embedding: EmbeddingTrial | None = None
    """Of the embedding model; absent where the manifest names none."""


class AcrossLanguages(Contract):
    """Whether a question in one language is compared by meaning with records in another."""

    questions: LanguageTag
    """Language of the questions."""
    records: LanguageTag
    """Language of the records."""
    embedding: EmbeddingTrial | None = None
    """Of the embedding model; absent where the manifest names none: then a translated question is not found."""


class Repeats(ByDetection):
    """Training records that repeat an earlier record: earlier in the plan's order of sources and in the file's order of records."""

    source: Name
    """Source of the later record."""
    earlier: Name
    """Source of the record that it repeats."""


class ContaminationReport(Contract):
    """`contamination.json`: which questions the training records hold, and which records repeat each other. Written before `data/`."""

    plan_sha256: Sha256
    """Hash of the plan it belongs to."""
    action: DecontaminationAction
    """What became of what was found."""
    remove_from: RemoveFrom
    """Which side Remove left out."""
    ngram_threshold: Similarity
    """Jaccard similarity from which two texts count as the same."""
    similarity_threshold: Similarity | None = None
    """Cosine above which they do; absent without an embedding model."""
    records: Count
    """Training records compared."""
    left_out: Count
    """Of these, how many are not trained on because a question resembles them."""
    languages: Annotated[tuple[LanguageMethods, ...], Field(max_length=4 * ENTRIES)]
    """How each language was compared."""
    across: Annotated[tuple[AcrossLanguages, ...], Field(max_length=ENTRIES * ENTRIES)]
    """Every language of a question with every other of a record."""
    tasks: Annotated[tuple[TaskContamination, ...], Field(max_length=ENTRIES)]
    """Every task that is not `seen`, in the plan's order."""
    repeats: Annotated[tuple[Repeats, ...], Field(max_length=ENTRIES * ENTRIES)]
    """Pairs of sources with at least one."""

    @property
    def questions(self) -> int:
        """Questions compared, of all tasks."""
        return sum(task.questions for task in self.tasks)

    @property
    def contaminated(self) -> int:
        """Questions that resemble training records, of all tasks."""
        return sum(task.contaminated for task in self.tasks)

    @property
    def repeated(self) -> int:
        """Training records that repeat an earlier one."""
        return sum(each.exact + each.normalised + each.ngram + each.embedding for each in self.repeats)
