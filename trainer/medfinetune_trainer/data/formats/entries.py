"""A file that is one JSON object of objects, read entry by entry: memory holds one entry, and the keys of those before."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from medfinetune_api.errors import InvalidData

from medfinetune_trainer.data.reading import MAX_RECORD_BYTES, DataFile, RepeatedNameError, kind_of, object_of_once, repeated_name, text_lines

_BLANK = re.compile(r"\s*")


def json_entries(file: DataFile) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Line number, key and object of every entry of a file that is one JSON object of objects, read entry by entry.

    Raises:
        InvalidData: as `text_lines`; the file is no such object, ends early, goes on after the object, or holds a key or a name within an entry twice.
    """
    yield from _EntryReader(file)


class _EntryReader:
    """Walks the outer object with a window of text that grows only while an entry is incomplete."""

    def __init__(self, file: DataFile) -> None:
        self.file, self.lines, self.decoder = file, text_lines(file), json.JSONDecoder(object_pairs_hook=object_of_once)
        self.window, self.at, self.line = "", 0, 1
        self.keys: set[str] = set()

    def __iter__(self) -> Iterator[tuple[int, str, dict[str, Any]]]:
        self._take("{")
        if self._peek() == "}":
            raise self.file.no_records()
        yield self._entry()
        while self._peek() != "}":
            self._take(",")
            yield self._entry()
        self._take("}")
        if self._peek():
            raise self._broken("more after the object's closing brace", "the end of the file")

    def _entry(self) -> tuple[int, str, dict[str, Any]]:
        self._peek()
        line, key = self.line, self._value("a key", str)
        if key in self.keys:
            raise self._broken("a key that an earlier entry has", "every key once")
        self.keys.add(key)
        self._take(":")
        self._peek()
        return line, key, self._value("an object", dict)

    def _grow(self) -> bool:
        number, text = next(self.lines, (0, ""))
        self.window, self.at = self.window[self.at :] + text, 0
        if len(self.window) > MAX_RECORD_BYTES:
            raise self._broken(f"an entry over {MAX_RECORD_BYTES >> 20} MiB", "entries that fit memory")
        return number > 0

    def _advance(self, end: int) -> None:
        self.line += self.window.count("\n", self.at, end)
        self.at = end

    def _peek(self) -> str:
        """The next character that is not white space, or nothing at the end of the file."""
        while True:
            blank = _BLANK.match(self.window, self.at)
            self._advance(blank.end() if blank else self.at)
            if self.at < len(self.window) or not self._grow():
                return self.window[self.at : self.at + 1]

    def _take(self, mark: str) -> None:
        found = self._peek()
        if found != mark:
            raise self._broken("another character" if found else "the end of the file", f"`{mark}`")
        self._advance(self.at + 1)

    def _value(self, expected: str, kind: type[Any]) -> Any:
        while True:
            try:
                value, end = self.decoder.raw_decode(self.window, self.at)
            except RepeatedNameError:
                raise repeated_name(self.file, self.line) from None
            except (ValueError, RecursionError):
                if not self._grow():
                    raise self._broken("no complete JSON from here on", expected) from None
                continue
            if not isinstance(value, kind):
                raise self._broken(f"a JSON {kind_of(value)}", expected)
            self._advance(end)
            return value

    def _broken(self, found: str, expected: str) -> InvalidData:
        return self.file.refuse(
            self.line, found=found, expected=expected, remedy="The file must be one JSON object that holds one object a record, under its key."
        )
