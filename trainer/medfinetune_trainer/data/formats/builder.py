"""Builder: what the manifest says of a source, joined to what a format finds in its rows."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medfinetune_api.plan_data import ColumnsPlan
from medfinetune_api.scalars import PRINTABLE

from medfinetune_trainer.data.formats.row import Row
from medfinetune_trainer.data.reading import DataFile
from medfinetune_trainer.data.records import Message, Record

_PRINTABLE = re.compile(PRINTABLE)


@dataclass(frozen=True)
class Builder:
    """One source or task of the manifest, and its file."""

    file: DataFile
    source: str
    language: str
    domain: str
    subject: str
    columns: ColumnsPlan | None

    def record(self, row: Row, messages: tuple[Message, ...], *, subject: str = "", id_field: str | None = "id") -> Record:
        """A record of `messages`; its subject is the row's, or else the source's. Raises InvalidData where the subject could not be shown as it is."""
        if subject and not _PRINTABLE.match(subject):
            remedy = "Remove them: the subject stands in tables and reports."
            raise row.refuse(found="a subject with control or text-reordering characters", expected="printable text", remedy=remedy)
        return Record(
            where=row.where,
            id=row.identifier(id_field),
            source=self.source,
            language=self.language,
            domain=self.domain,
            subject=subject or self.subject,
            messages=messages,
        )

    def exam(
        self,
        row: Row,
        *,
        question: str,
        options: tuple[str, ...],
        choices: tuple[str, ...],
        answer: int,
        prompt: str,
        subject: str = "",
        id_field: str | None = "id",
        also_right: tuple[int, ...] = (),
        year: str = "",
    ) -> Record:
        """An exam record: asked by `prompt`, answered by the choice alone, or by all right choices in order."""
        turns = Message("user", prompt), Message("assistant", ", ".join(choices[index] for index in (answer, *also_right)))
        base = self.record(row, turns, subject=subject, id_field=id_field)
        asked = {"question": question, "options": options, "choices": choices, "answer": answer, "also_right": also_right, "year": year}
        return Record(**{**vars(base), **asked})
