"""`privacy.json`: what the privacy scan found. It stays after the purge, and names records by `file:line`, never by their text."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from medfinetune_api.base import Contract
from medfinetune_api.choices import PrivacyAction
from medfinetune_api.scalars import ENTRIES, Count, Label, LanguageTag, Name, Sha256

NAMED_RECORDS = 5
"""Most records that a row of findings names."""
Where = Annotated[str, Field(max_length=1024)]
"""A record's `file:line`."""


class PersonalData(StrEnum):
    """What the privacy scan looks for; Redact writes the word in brackets in its place."""

    PERSON = "PERSON"
    KR_RRN = "KR_RRN"
    US_SSN = "US_SSN"
    PHONE_NUMBER = "PHONE_NUMBER"
    EMAIL_ADDRESS = "EMAIL_ADDRESS"
    ADDRESS = "ADDRESS"
    DATE_OF_BIRTH = "DATE_OF_BIRTH"
    RECORD_NUMBER = "RECORD_NUMBER"


class Finding(Contract):
    """What one source holds of one type of personal data, as far as the recognisers tell."""

    source: Name
    """Name of the source."""
    language: LanguageTag
    """Language of its records."""
    type: PersonalData
    """What was found."""
    findings: Count
    """Places in the text."""
    records: Count
    """Records that hold one or more."""
    first: Annotated[tuple[Where, ...], Field(max_length=NAMED_RECORDS)]
    """The first of these records, by `file:line`."""


class ScannedSource(Contract):
    """How much of one source was looked at."""

    source: Name
    """Name of the source."""
    language: LanguageTag
    """Language of its records."""
    records: Count
    """Records scanned."""
    flagged: Count
    """Records with findings of any type."""


class ScannedLanguage(Contract):
    """How records of one language were looked at."""

    language: LanguageTag
    """BCP 47 language tag."""
    recognizers: Annotated[tuple[Label, ...], Field(max_length=ENTRIES)]
    """Names of the recognisers that ran."""
    names_scanned: bool
    """Whether a model of the site looked for names in free text; without one only labelled names are found."""


class PrivacyReport(Contract):
    """`privacy.json`: what seems to be personal data in the training and validation sources."""

    plan_sha256: Sha256
    """Hash of the plan it belongs to."""
    action: PrivacyAction
    """What became of the records; never Disabled, which writes no report."""
    sources: Annotated[tuple[ScannedSource, ...], Field(max_length=2 * ENTRIES)]
    """One entry a source, in the plan's order."""
    languages: Annotated[tuple[ScannedLanguage, ...], Field(max_length=2 * ENTRIES)]
    """One entry a language, by name."""
    findings: Annotated[tuple[Finding, ...], Field(max_length=2 * ENTRIES * len(PersonalData))]
    """One entry for each source and type that was found in it."""

    @property
    def numbers(self) -> dict[str, float]:
        """Totals, as StageResult has them."""
        return {
            "privacy_records": sum(source.records for source in self.sources),
            "privacy_flagged_records": sum(source.flagged for source in self.sources),
            "privacy_findings": sum(row.findings for row in self.findings),
        }

    @property
    def unnamed(self) -> tuple[str, ...]:
        """Languages in which names in free text were not looked for."""
        return tuple(language.language for language in self.languages if not language.names_scanned)

    @property
    def sentence(self) -> str:
        """The totals in words."""
        findings, flagged, records = (int(self.numbers[f"privacy_{name}"]) for name in ("findings", "flagged_records", "records"))
        names = f"; names not scanned in {', '.join(self.unnamed)}" if self.unnamed else ""
        return f"Personal data: {findings} findings in {flagged} of {records} records ({self.action}){names}."
