"""From the bytes of a data file to its rows, strictly: whatever is wrong is refused by file:line, and never with the text of a record.

Rows are streamed: memory holds one row, whatever the size of the file. A name that ends in `.gz` is decompressed.
"""

from __future__ import annotations

import codecs
import csv
import errno
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from medfinetune_api.errors import InvalidData, StorageFailed

MAX_RECORD_BYTES = 16 * 2**20
"""Longest line or entry: beyond it a file is not what it is said to be, and would not fit memory."""

_ACCESS_ERRNOS = {errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOENT}
_BLANK = re.compile(r"\s*")
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class DataFile:
    """A data file, and how messages name it."""

    path: Path
    """Resolved within its volume."""
    name: str
    """As the manifest writes it."""

    @property
    def suffix(self) -> str:
        """`.jsonl`, `.csv` or `.json`, in lower case, whether compressed or not."""
        return Path(self.name.lower().removesuffix(".gz")).suffix

    def refuse(self, line: int | None, *, found: str, expected: str, remedy: str) -> InvalidData:
        """The refusal to raise for this file, or for one line of it (counted from 1)."""
        return InvalidData(self.name if line is None else f"{self.name}:{line}", found=found, expected=expected, remedy=remedy)


def text_lines(file: DataFile) -> Iterator[tuple[int, str]]:
    """Line numbers (from 1) and lines with their ends, decoded as UTF-8.

    Raises:
        InvalidData: missing, empty or unreadable file, byte order mark, other encoding, truncated gzip, a line over MAX_RECORD_BYTES.
        StorageFailed: the volume failed while reading.
    """
    with _opened(file) as stream:
        for number, line in enumerate(iter(lambda: stream.readline(MAX_RECORD_BYTES + 1), b""), start=1):
            if number == 1:
                _refuse_other_encodings(file, line)
            if len(line) > MAX_RECORD_BYTES:
                raise file.refuse(number, found=f"a line over {MAX_RECORD_BYTES >> 20} MiB", expected="one record a line", remedy="Check the file's format.")
            yield number, _decode(file, number, line)


def json_lines(file: DataFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and objects of a JSON Lines file; blank lines are passed over. Raises InvalidData as `text_lines`, and for a line that is no object."""
    empty = True
    for number, line in text_lines(file):
        if not line.strip():
            continue
        empty = False
        yield number, json_object(file, number, line)
    if empty:
        raise _no_records(file)


def json_object(file: DataFile, number: int, text: str) -> dict[str, Any]:
    """One JSON object from `text`. Raises InvalidData where it is something else."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise file.refuse(
            number,
            found=f"no JSON ({error.msg.lower()}, column {error.colno})",
            expected="one JSON object a line",
            remedy="Write one object a line, without line breaks inside.",
        ) from None
    except (ValueError, RecursionError):
        raise file.refuse(
            number, found="JSON with a number too long or nested too deep", expected="one JSON object a line", remedy="Correct the line."
        ) from None
    if not isinstance(value, dict):
        remedy = "Turn the array into lines: `jq -c '.[]'`." if isinstance(value, list) else "Write one object a line."
        raise file.refuse(number, found=f"a JSON {kind_of(value)}", expected="one JSON object a line", remedy=remedy)
    return value


def csv_rows(file: DataFile) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers (where a row begins) and rows by the header's names.

    Raises:
        InvalidData: as `text_lines`; a header with a name twice; a row with more or fewer fields than the header; a quote never closed; no rows.
    """
    records = _csv_records(file)
    _, header = next(records, (0, []))
    repeated = sum(header.count(name) > 1 for name in header)
    if repeated:
        raise file.refuse(
            1, found=f"{repeated} columns that share a name", expected="a header with every name once", remedy="Rename or remove the repeated columns."
        )
    empty = True
    for number, fields in records:
        if len(fields) != len(header):
            raise file.refuse(
                number,
                found=f"{len(fields)} fields",
                expected=f"{len(header)}, as the header has",
                remedy="Put fields that hold commas or line breaks in double quotes.",
            )
        empty = False
        yield number, dict(zip(header, fields, strict=True))
    if empty:
        raise _no_records(file)


def _csv_records(file: DataFile) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((line for _, line in text_lines(file)), strict=True)
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise file.refuse(
                start, found=f"a row that is no CSV ({error})", expected="comma-separated values, RFC 4180", remedy="Check the double quotes from this line on."
            ) from None
        if fields:
            yield start, fields


def json_entries(file: DataFile) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Line number, key and object of every entry of a file that is one JSON object of objects, read entry by entry.

    Raises:
        InvalidData: as `text_lines`; the file is no such object, or ends early.
    """
    yield from _EntryReader(file)


class _EntryReader:
    """Walks the outer object with a window of text that grows only while an entry is incomplete."""

    def __init__(self, file: DataFile) -> None:
        self.file, self.lines, self.decoder = file, text_lines(file), json.JSONDecoder()
        self.window, self.at, self.line = "", 0, 1

    def __iter__(self) -> Iterator[tuple[int, str, dict[str, Any]]]:
        self._take("{")
        if self._peek() == "}":
            raise _no_records(self.file)
        while True:
            self._peek()
            line, key = self.line, self._value("a key", str)
            self._take(":")
            self._peek()
            yield line, key, self._value("an object", dict)
            if self._peek() == "}":
                return
            self._take(",")

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


def kind_of(value: object) -> str:
    """JSON's name for the type of `value`: what a message may say of it."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
    return names.get(type(value), "value")


@contextmanager
def _opened(file: DataFile) -> Iterator[IO[bytes]]:
    try:
        if file.path.is_file() and file.path.stat().st_size == 0:
            raise _no_records(file)
        with gzip.open(file.path) if file.name.lower().endswith(".gz") else file.path.open("rb") as stream:
            yield cast("IO[bytes]", stream)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        found = "a gzip file that ends early" if isinstance(error, EOFError) else "bytes that are no valid gzip"
        raise file.refuse(
            None, found=found, expected="a whole gzip file, as `.gz` says", remedy="Copy the file again; `gzip -t` tells whether it is whole."
        ) from None
    except OSError as error:
        if error.errno in _ACCESS_ERRNOS:
            raise file.refuse(
                None, found=f"no readable file ({os.strerror(error.errno)})", expected="a file the run may read", remedy="Check path and permissions."
            ) from None
        raise StorageFailed(file.name, found=str(error.strerror), expected="a readable volume", remedy="Mend the volume, then start the run again.") from error


def _refuse_other_encodings(file: DataFile, start: bytes) -> None:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise file.refuse(1, found="UTF-16", expected="UTF-8", remedy="Convert it: `iconv -f UTF-16 -t UTF-8`.")
    if start.startswith(codecs.BOM_UTF8):
        raise file.refuse(1, found="a byte order mark", expected="UTF-8 without one", remedy="Remove it: `sed -i '1s/^\\xEF\\xBB\\xBF//' FILE`.")
    if start.startswith(_GZIP_MAGIC):
        raise file.refuse(
            None, found="gzip under a name without `.gz`", expected="plain text", remedy="Add `.gz` to the name, in the manifest too, or decompress the file."
        )


def _decode(file: DataFile, number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"a byte that is not UTF-8, at byte {error.start + 1} of the line"
        remedy = "Convert the file, such as Korean text from Windows: `iconv -f CP949 -t UTF-8`."
        raise file.refuse(number, found=found, expected="UTF-8", remedy=remedy) from None


def _no_records(file: DataFile) -> InvalidData:
    return file.refuse(None, found="no records", expected="at least one", remedy="Point the manifest at a file with data, or remove this source.")
