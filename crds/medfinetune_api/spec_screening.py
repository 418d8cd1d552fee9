"""What a manifest says about what must not be in the records: personal data, and what the evaluation asks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medfinetune_api.base import Contract
from medfinetune_api.choices import DecontaminationAction, PrivacyAction, RemoveFrom
from medfinetune_api.scalars import Expression, LanguageTag, RelativePath, Sha256, Similarity


class NameModelSpec(Contract):
    """A spaCy pipeline that recognises persons' names in one language."""

    language: LanguageTag
    """Language of the records it reads, a BCP 47 tag."""
    path: RelativePath
    """Folder below the model volume's root, as `spacy.Language.to_disk` leaves it."""


class PrivacySpec(Contract):
    """What is looked for in the training records: labelled names, identity numbers, telephone numbers, addresses, dates of birth, record numbers."""

    action: PrivacyAction = PrivacyAction.WARN
    """Block refuses the run where something is found, Redact trains on records in which it is replaced by its type, Warn counts and reports it, Disabled does
    not look. Findings are counted by type and source, their text is written nowhere. Default Warn."""
    record_numbers: Annotated[tuple[Expression, ...], Field(max_length=16)] = ()
    """Regular expressions of the site's own record numbers, such as MRN-[0-9]{8}. Default none."""
    name_models: Annotated[tuple[NameModelSpec, ...], Field(max_length=16)] = ()
    """Models that find names in free text. Without one, a language's reports say that names were not scanned. Default none."""


class EmbeddingSpec(Contract):
    """A sentence-transformers model that compares texts by meaning."""

    path: RelativePath
    """Folder below the model volume's root."""
    sha256: Sha256 | None = None
    """SHA-256 that its weights must have, as `spec.model.sha256`. Default: not checked."""
    similarity_threshold: Similarity = 0.8
    """Cosine above which two texts count as the same, above 0 to 1 (Med42, appendix A.4). In a language where more than 1 % of unrelated pairs exceed it the
    model is not used. Default 0.8."""


class DecontaminationSpec(Contract):
    """How training records and evaluation questions are compared: exactly, normalised, by n-grams, and by meaning where a model is given."""

    action: DecontaminationAction = DecontaminationAction.REPORT
    """Report counts resemblances and gives accuracy with and without them, Remove leaves one side out, Disabled does not compare. Default Report."""
    remove_from: RemoveFrom = RemoveFrom.EVALUATION
    """What Remove leaves out: the questions (Evaluation, as Med42 does) or the records (Training). Default Evaluation."""
    ngram_threshold: Similarity = 0.5
    """Share of n-grams in common (Jaccard; MinHash finds the candidates) from which two texts count as the same, above 0 to 1. Default 0.5."""
    embedding: EmbeddingSpec | None = None
    """Compares by meaning, too. Default: not done."""
