"""A file that is one JSON object, read part by part: memory holds one record, or one examination, and the keys of those before."""

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
    walk = _Walk(file, "The file must be one JSON object that holds one object a record, under its key.")
    empty = True
    for line, key in walk.entries():
        empty = False
        yield line, key, walk.value(dict)
    if empty:
        raise file.no_records()
    walk.end()


def exam_questions(file: DataFile) -> Iterator[tuple[int, dict[str, Any], dict[str, Any]]]:
    """Line number, examination (without its questions) and question, of a file {exams: {name: {.., data: [question, ..]}}}; other names of the outermost object
    are passed over. Raises InvalidData as `json_entries`.
    """
    walk = _Walk(file, 'The file must be one JSON object {"exams": {name: {.., "data": [question, ..]}}}; name one question a line `.jsonl`.')
    empty = True
    for _, outer in walk.entries():
        if outer != "exams":
            walk.value(object)
            continue
        for _ in walk.entries():
            exam, questions = _exam(walk)
            for line, question in questions:
                empty = False
                yield line, exam, question
    if empty:
        raise file.no_records()
    walk.end()


def _exam(walk: _Walk) -> tuple[dict[str, Any], list[tuple[int, dict[str, Any]]]]:
    """One examination: what it says of itself, which may stand after its questions, and these with their lines."""
    exam: dict[str, Any] = {}
    questions: list[tuple[int, dict[str, Any]]] = []
    for _, name in walk.entries():
        if name == "data":
            questions = [(line, walk.value(dict)) for line in walk.elements()]
        else:
            exam[name] = walk.value(object)
    return exam, questions


class _Walk:
    """Walks a file's JSON with a window of text that grows only while a value is incomplete."""

    def __init__(self, file: DataFile, remedy: str) -> None:
        self.remedy = remedy
        self.file, self.lines, self.decoder = file, text_lines(file), json.JSONDecoder(object_pairs_hook=object_of_once)
        self.window, self.at, self.line = "", 0, 1

    def entries(self) -> Iterator[tuple[int, str]]:
        """Line and key of each entry of the object that begins here; the caller takes its value before the next."""
        seen: set[str] = set()
        for line in self._parts("{", "}"):
            key = self.value(str, "a key")
            if key in seen:
                raise self._broken("a key that an earlier entry has", "every key once")
            seen.add(key)
            self._take(":")
            yield line, key

    def elements(self) -> Iterator[int]:
        """Line of each element of the array that begins here; the caller takes its value before the next."""
        return self._parts("[", "]")

    def end(self) -> None:
        """Refuse what comes after the outermost object."""
        if self._peek():
            raise self._broken("more after the object's closing brace", "the end of the file")

    def _parts(self, opening: str, closing: str) -> Iterator[int]:
        self._take(opening)
        if self._peek() != closing:
            yield self._here()
            while self._peek() != closing:
                self._take(",")
                yield self._here()
        self._take(closing)

    def _here(self) -> int:
        self._peek()
        return self.line

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

    def value(self, kind: type[Any], expected: str = "") -> Any:
        """The value that begins here, which must be of `kind`."""
        expected = expected or ("an object" if kind is dict else "a value")
        self._peek()
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
        return self.file.refuse(self.line, found=found, expected=expected, remedy=self.remedy)
