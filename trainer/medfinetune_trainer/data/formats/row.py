"""One row of a data file, read by typed accessors that refuse by file:line and never repeat what the row says."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medfinetune_api.errors import InvalidData

from medfinetune_trainer.data.reading import DataFile, kind_of

_HARMLESS = re.compile("[A-Za-z]|[0-9]{1,2}")
"""ASCII only: two Korean syllables can be a whole diagnosis."""

_YEAR = re.compile("[0-9]{4}")


@dataclass(frozen=True)
class Row:
    """A JSON object or CSV row at a line of a file."""

    file: DataFile
    line: int
    values: Mapping[str, Any]
    key: str = ""
    """The entry's key, in files that are one object of objects."""
    number: int = 0
    """Of the question, from 1, in files whose one line may hold many."""

    @property
    def where(self) -> str:
        """`file:line`, as the record keeps it."""
        return f"{self.file.name}:{self.line}" + (f" question {self.number}" if self.number else "")

    def refuse(self, *, found: str, expected: str, remedy: str) -> InvalidData:
        """The refusal to raise for this row."""
        return InvalidData(self.where, found=found, expected=expected, remedy=remedy)

    def value(self, name: str) -> Any:
        """What stands under `name`. Raises InvalidData where nothing does."""
        if name not in self.values:
            near = difflib.get_close_matches(name, self.values, n=1, cutoff=0.8)
            # A name close to the expected one is no record text; any other could be: the header of a file that has none is its first record.
            found = f"{near[0]!r} but no {name!r}" if near else f"no {name!r} among {len(self.values)} fields"
            raise self.refuse(found=found, expected=f"the field {name!r}", remedy="Check the source's format in the manifest, or the file's field names.")
        return self.values[name]

    def text(self, name: str) -> str:
        """The non-empty text under `name`. Raises InvalidData where it is missing, blank or no text."""
        return self.as_text(self.value(name), repr(name))

    def text_or_blank(self, name: str) -> str:
        """The text under `name`, blank where the row has none. Raises InvalidData where it is no text."""
        value = self.values.get(name) or ""
        return self.as_text(value, repr(name)) if value != "" else ""

    def year(self, name: str) -> str:
        """The year under `name`, empty where the row has none. Raises InvalidData where it is no four digits."""
        value = str(self.values.get(name) or "").strip()
        if value and not _YEAR.fullmatch(value):
            raise self.refuse(found=f"{name!r} that is no year", expected="four digits", remedy="Correct or empty it: scores are broken down by year.")
        return value

    def as_text(self, value: object, what: str) -> str:
        """`value` as non-empty, encodable text; `what` names it in the message. Raises InvalidData."""
        if not isinstance(value, str):
            raise self.refuse(found=f"{what} that is no text ({kind_of(value)})", expected="text", remedy="Correct the row.")
        if not value.strip():
            raise self.refuse(found=f"an empty {what}", expected="text", remedy="Complete the row or remove it.")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self.refuse(found=f"half a surrogate pair in {what}", expected="Unicode text", remedy="Write the character whole, or remove it.") from None
        return value

    def identifier(self, name: str | None = None) -> str:
        """The text or number under `name`; the entry's key or the line number where the row has none."""
        value = self.values.get(name) if name else None
        return str(value) if isinstance(value, str | int) and str(value) else self.key or str(self.line)


def shown(value: object) -> str:
    """An answer as a message may repeat it: a letter or small number, or only its type and length."""
    if isinstance(value, str | int) and _HARMLESS.fullmatch(str(value)):
        return f"the answer {str(value)!r}"
    return f"an answer of length {len(value)}" if isinstance(value, str) else f"an answer that is no text ({kind_of(value)})"


def letters(count: int) -> tuple[str, ...]:
    """`A`, `B`, ... for `count` options, at most 26."""
    return tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:count])


def letter_index(row: Row, value: object, choices: Sequence[str], remedy: str = "Correct the answer.") -> int:
    """Index of the letter `value` among `choices`. Raises InvalidData where it is none of them."""
    if not isinstance(value, str) or value.strip().upper() not in choices:
        raise row.refuse(found=shown(value), expected=f"a letter from {choices[0]} to {choices[-1]}", remedy=remedy)
    return choices.index(value.strip().upper())
