"""Screening: every training and validation record looked at once as it is read, what is found counted by source and type, and what the plan says done.

Memory holds one record and the counts. Block reads all sources before anything of them is written; Redact and Warn look at the records on their way to being
tokenised. Text is compared as a template writes it, without noncharacters, and in Unicode's NFC, in which Korean syllables are one character each; a redacted
record is trained on in that form.

presidio and spaCy are imported where a plan asks for a scan, and only there: they take longer to import than a small run to prepare.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unicodedata import normalize

from medfinetune_api.choices import PrivacyAction
from medfinetune_api.errors import InvalidData
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_data import SourcePlan
from medfinetune_api.results_privacy import NAMED_RECORDS, Finding, PersonalData, PrivacyReport, ScannedLanguage, ScannedSource

from medfinetune_trainer.artifacts.files import write_text
from medfinetune_trainer.data.formats import read_source
from medfinetune_trainer.data.records import Record
from medfinetune_trainer.data.template import unmarked
from medfinetune_trainer.privacy.place import Place
from medfinetune_trainer.privacy.redact import redacted, redacted_record

SHOWN = 6
"""Most rows of findings that a refusal names; privacy.json has all."""
Find = Callable[[str, str], list[Place]]
"""Places in a text of a language."""


@dataclass
class Tally:
    """What was counted of one source."""

    source: SourcePlan
    records: int = 0
    flagged: int = 0
    places: Counter[PersonalData] = field(default_factory=Counter)
    holding: Counter[PersonalData] = field(default_factory=Counter)
    first: dict[PersonalData, list[str]] = field(default_factory=dict)

    def add(self, where: str, found: Counter[PersonalData]) -> None:
        """Count the record at `where`."""
        self.records += 1
        self.flagged += bool(found)
        self.places += found
        for kind in found:
            self.holding[kind] += 1
            if self.holding[kind] <= NAMED_RECORDS:
                self.first.setdefault(kind, []).append(where)

    def rows(self) -> Iterator[Finding]:
        """A row for each type that was found."""
        for kind in PersonalData:
            if self.places[kind]:
                yield Finding(
                    source=self.source.name,
                    language=self.source.language,
                    type=kind,
                    findings=self.places[kind],
                    records=self.holding[kind],
                    first=tuple(self.first[kind]),
                )


class Screening:
    """Looks at records, one after another. Call it with each."""

    def __init__(self, plan: RunPlan, find: Find, languages: Iterable[ScannedLanguage]) -> None:
        self._plan, self._find, self._languages = plan, find, tuple(languages)
        self._tallies = {source.name: Tally(source) for source in sources_of(plan)}

    def __call__(self, record: Record) -> Record:
        """`record`, counted; redacted where the plan says so and something was found. Raises InvalidManifest as `site`."""
        texts = (*(message.content for message in record.messages), record.subject)
        found = Counter(place.type for text in texts for place in self._find(_composed(text), record.language))
        self._tallies[record.source].add(record.where, found)
        if self._plan.data.privacy.action is not PrivacyAction.REDACT:
            return record
        return redacted_record(record, partial(self._redacted, record.language) if found else str)

    def _redacted(self, language: str, text: str) -> str:
        composed = _composed(text)
        places = self._find(composed, language)
        return redacted(composed, places) if places else text

    def report(self) -> PrivacyReport:
        """What was found so far."""
        tallies = self._tallies.values()
        return PrivacyReport(
            plan_sha256=self._plan.sha256,
            action=self._plan.data.privacy.action,
            sources=tuple(
                ScannedSource(source=tally.source.name, language=tally.source.language, records=tally.records, flagged=tally.flagged) for tally in tallies
            ),
            languages=self._languages,
            findings=tuple(row for tally in tallies for row in tally.rows()),
        )


def _composed(text: str) -> str:
    return normalize("NFC", unmarked(text))


def sources_of(plan: RunPlan) -> tuple[SourcePlan, ...]:
    """All that is scanned: the training sources, then the validation sources."""
    return (*plan.data.sources, *plan.data.validation.sources)


def begin(plan: RunPlan) -> Screening | None:
    """What records are to pass as they are read. None where the plan says Disabled, or Block, which reads all of them here and writes privacy.json.

    Raises:
        InvalidData: Block, and something was found; or a source cannot be read.
        InvalidManifest: a record number's expression cannot be used.
        InvalidModel: a name model cannot be used.
    """
    if plan.data.privacy.action is PrivacyAction.DISABLED:
        return None
    from medfinetune_trainer.privacy.analyzer import Analyzer

    analyzer = Analyzer(plan.data.privacy, {source.language for source in sources_of(plan)}, Path(plan.mounts.models))
    screening = Screening(plan, analyzer.find, analyzer.scanned())
    if plan.data.privacy.action is not PrivacyAction.BLOCK:
        return screening
    _refuse_findings(plan, screening)
    return None


def write_report(plan: RunPlan, report: PrivacyReport) -> None:
    """Write `privacy.json`. Raises StorageFailed; OutputConflict as `fence.check`."""
    write_text(plan.folder.privacy, json.dumps(json.loads(report.to_json()), indent=1, ensure_ascii=False) + "\n")


def _refuse_findings(plan: RunPlan, screening: Screening) -> None:
    for listed, sources in (("spec.data.sources", plan.data.sources), ("spec.data.validation.sources", plan.data.validation.sources)):
        for source in sources:
            for record in read_source(source, Path(plan.mounts.data), listed):
                screening(record)
    report = screening.report()
    write_report(plan, report)
    if report.findings:
        flagged, records = (sum(getattr(source, name) for source in report.sources) for name in ("flagged", "records"))
        found = f"what seems to be personal data in {flagged} of {records} records: {_rows(report.findings)}"
        remedy = "Remove it from the files (privacy.json names more records), or set the action to Redact or Warn."
        raise InvalidData("spec.data.privacy.action", found=found, expected="none, as Block asks", remedy=remedy)


def _rows(findings: tuple[Finding, ...]) -> str:
    most = sorted(findings, key=lambda row: -row.findings)
    named = [f"{row.findings} {row.type} in {row.source} (first {', '.join(row.first[:2])})" for row in most[:SHOWN]]
    return "; ".join([*named, f"and {len(most) - SHOWN} more rows"] if len(most) > SHOWN else named)
