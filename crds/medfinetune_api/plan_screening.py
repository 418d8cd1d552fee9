"""RunPlan's part on what must not be in the records: personal data, and what the evaluation asks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medfinetune_api.base import Contract
from medfinetune_api.choices import DecontaminationAction, PrivacyAction, RemoveFrom
from medfinetune_api.scalars import Expression, LanguageTag, RelativePath, Sha256, Similarity


class NameModelPlan(Contract):
    """A spaCy pipeline that recognises persons' names in one language."""

    language: LanguageTag
    """Language of the records it reads."""
    path: RelativePath
    """Folder relative to `mounts.models`."""


class PrivacyPlan(Contract):
    """What is looked for in the training records."""

    action: PrivacyAction
    """What becomes of records that seem to hold personal data."""
    record_numbers: Annotated[tuple[Expression, ...], Field(max_length=16)]
    """Regular expressions of the site's own record numbers."""
    name_models: Annotated[tuple[NameModelPlan, ...], Field(max_length=16)]
    """Models that find names in free text."""


class EmbeddingPlan(Contract):
    """A sentence-transformers model that compares texts by meaning."""

    path: RelativePath
    """Folder relative to `mounts.models`."""
    sha256: Sha256 | None = None
    """Hash that its weights must have; None checks none."""
    similarity_threshold: Similarity
    """Cosine above which two texts count as the same."""


class DecontaminationPlan(Contract):
    """How training records and evaluation questions are compared."""

    action: DecontaminationAction
    """What becomes of questions that resemble training records."""
    remove_from: RemoveFrom
    """Which side Remove leaves out."""
    ngram_threshold: Similarity
    """Jaccard similarity of n-grams from which two texts count as the same."""
    embedding: EmbeddingPlan | None = None
    """Compares by meaning, too; None does not."""
