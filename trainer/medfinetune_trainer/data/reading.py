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
import stat
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
_GZIP_MAGIC = b"\x1f\x8b"

csv.field_size_limit(MAX_RECORD_BYTES)  # the process's limit; its default, 131,072 characters, is less than a long abstract with its reviews


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

    def no_records(self) -> InvalidData:
        """The refusal to raise for a file that holds nothing."""
        return self.refuse(None, found="no records", expected="at least one", remedy="Point the manifest at a file with data, or remove this source.")


def text_lines(file: DataFile) -> Iterator[tuple[int, str]]:
    """Line numbers (from 1) and lines with their ends, decoded as UTF-8.

    Raises:
        InvalidData: missing, empty or unreadable file, byte order mark, other encoding, truncated gzip, a line over MAX_RECORD_BYTES.
        StorageFailed: the volume failed while reading.
    """
    with opened(file) as stream:
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
        raise file.no_records()


def json_object(file: DataFile, number: int, text: str) -> dict[str, Any]:
    """One JSON object from `text`. Raises InvalidData where it is something else."""
    try:
        value = json.loads(text, object_pairs_hook=object_of_once)
    except RepeatedNameError:
        raise repeated_name(file, number) from None
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


class RepeatedNameError(ValueError):
    """A JSON object holds a name twice. It carries no text: the name is the record's."""


def object_of_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An `object_pairs_hook` for `json`, which by itself keeps the last of two values and says nothing. Raises RepeatedNameError."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise RepeatedNameError
    return value


def repeated_name(file: DataFile, number: int) -> InvalidData:
    """The refusal to raise for RepeatedNameError in the record that begins at line `number`."""
    return file.refuse(number, found="an object with a name twice", expected="every name of an object once", remedy="Remove or rename one of the two.")


def csv_rows(file: DataFile) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers (where a row begins) and rows by the header's names.

    Raises:
        InvalidData: as `text_lines`; a header with a name twice; a row with more or fewer fields than the header; a quote never closed; no rows.
    """
    records = csv_records(file)
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
        raise file.no_records()


def csv_records(file: DataFile) -> Iterator[tuple[int, list[str]]]:
    """Line numbers (where a row begins) and fields of every row, the header's too; blank rows are passed over. Raises InvalidData as `text_lines`."""
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


def kind_of(value: object) -> str:
    """JSON's name for the type of `value`: what a message may say of it."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
    return names.get(type(value), "value")


@contextmanager
def opened(file: DataFile) -> Iterator[IO[bytes]]:
    """The file's bytes, decompressed where its name ends in `.gz`. Raises InvalidData and StorageFailed as `text_lines`, also while the caller reads."""
    try:
        _refuse_other_kinds(file)
        with gzip.open(file.path) if file.name.lower().endswith(".gz") else file.path.open("rb") as stream:
            yield cast("IO[bytes]", stream)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise file.refuse(
            None,
            found=_gzip_fault(file, error),
            expected="a whole gzip file, as `.gz` says",
            remedy="Copy the file again; `gzip -t` tells whether it is whole.",
        ) from None
    except OSError as error:
        if error.errno in _ACCESS_ERRNOS:
            raise file.refuse(
                None, found=f"no readable file ({os.strerror(error.errno)})", expected="a file the run may read", remedy="Check path and permissions."
            ) from None
        raise StorageFailed(file.name, found=str(error.strerror), expected="a readable volume", remedy="Mend the volume, then start the run again.") from error


def _refuse_other_kinds(file: DataFile) -> None:
    """Refuse what is no regular file, before it is opened: a pipe without a writer would keep the run waiting for ever."""
    status = file.path.stat()
    if not stat.S_ISREG(status.st_mode):
        found = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise file.refuse(None, found=found, expected="a regular file", remedy="Name a file, or write what it delivers to one.")
    if status.st_size == 0:
        raise file.no_records()


def _gzip_fault(file: DataFile, error: Exception) -> str:
    if isinstance(error, EOFError):
        return "a gzip file that ends early"
    with file.path.open("rb") as stream:
        begins_well = stream.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    # Python's reader looks for the magic number at the start, and again wherever a member has ended.
    return "bytes after the end of the gzip data" if begins_well and str(error).startswith("Not a gzipped file") else "bytes that are no valid gzip"


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
