"""Rows of a table, whatever holds it: JSON Lines, CSV or Parquet, told apart by the file's name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow
from pyarrow import parquet

from medfinetune_trainer.data.formats.row import Row
from medfinetune_trainer.data.reading import MAX_RECORD_BYTES, DataFile, csv_rows, json_lines, opened

_ROWS_AT_ONCE = 64
_LARGEST_TABLE = 4 * 2**30
"""Bytes of a row group once decompressed: a small file can claim any size."""


def table_rows(file: DataFile, *suffixes: str) -> Iterator[Row]:
    """Rows of `file`, streamed; its suffix must be one of `suffixes`. A line of JSON Lines and CSV is counted as in an editor, a row of Parquet from 1.

    Raises InvalidData: the suffix is another, or the file is not what it says, by file:line.
    """
    if file.suffix not in suffixes:
        remedy = "Rename or convert it, or correct the format in the manifest."
        raise file.refuse(None, found=f"a file that ends in {file.suffix!r}", expected=" or ".join(suffixes), remedy=remedy)
    for line, values in _READERS[file.suffix](file):
        yield Row(file, line, values)


def parquet_rows(file: DataFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbers (from 1) and values of the rows of a Parquet file, in its order. Raises InvalidData where it is none, is damaged, or holds no rows."""
    if file.name.lower().endswith(".gz"):
        raise file.refuse(None, found="Parquet under a name with `.gz`", expected="Parquet as it is", remedy="Decompress it: `gzip -d`.")
    number = 0
    with opened(file) as stream, _refusing_damage(file), parquet.ParquetFile(stream) as table:
        _refuse_shape(file, table)
        for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE):
            if batch.nbytes > _ROWS_AT_ONCE * MAX_RECORD_BYTES:
                raise file.refuse(number + 1, found=f"rows over {MAX_RECORD_BYTES >> 20} MiB", expected="rows that fit memory", remedy="Check the file.")
            for values in batch.to_pylist():
                number += 1
                yield number, values
    if number == 0:
        raise file.no_records()


def _refuse_shape(file: DataFile, table: parquet.ParquetFile) -> None:
    repeated = sum(count > 1 for count in Counter(table.schema_arrow.names).values())
    if repeated:
        found = f"{repeated} columns that share a name"
        raise file.refuse(None, found=found, expected="every column's name once", remedy="Rename or remove the repeated columns.")
    largest = max((table.metadata.row_group(group).total_byte_size for group in range(table.num_row_groups)), default=0)
    if largest > _LARGEST_TABLE:
        found = f"a row group of {largest >> 20} MiB"
        raise file.refuse(None, found=found, expected=f"at most {_LARGEST_TABLE >> 20}", remedy="Write the file with smaller row groups.")


@contextmanager
def _refusing_damage(file: DataFile) -> Iterator[None]:
    """pyarrow's own messages can repeat bytes of the file: none of them is passed on."""
    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the volume's own
        found = f"bytes that are no whole Parquet file ({type(error).__name__})"
        raise file.refuse(None, found=found, expected="Parquet, as the name says", remedy="Copy the file again, or correct its name.") from None


_READERS: dict[str, Callable[[DataFile], Iterator[tuple[int, dict[str, Any]]]]] = {
    ".jsonl": json_lines,
    ".json": json_lines,
    ".csv": csv_rows,
    ".parquet": parquet_rows,
}
