"""Documents: the tokenised samples of one source that fit a row, in an Arrow file, and the few numbers of each that split, mixture and packing need.

The file is streamed, a batch in memory at a time; a sample longer than `max_length` is refused, left out or cut by the plan's policy, and always counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from medfinetune_api.choices import Overlong
from medfinetune_api.errors import InvalidData
from numpy.typing import NDArray

Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Documents:
    """N documents, in the order of their file; `lengths` in tokens, `loss_tokens`, `identities` (equal for equal tokens): (N,)."""

    file: Path
    lengths: Ints
    loss_tokens: Ints
    identities: NDArray[np.int64]
    subjects: tuple[str, ...]
    """The subjects that occur, each once."""
    subject_of: Ints
    """Position in `subjects` of each document's: (N,). Numbers, because a million strings are hundreds of megabytes."""
    read: int
    """Samples before the over-long policy."""
    over_long: int
    """Samples longer than `max_length`: left out or cut."""
    tokens_dropped: int
    """Tokens lost to the policy."""
    decontaminated: int = 0
    """Samples left out because an evaluation asks what they answer; they count as read."""


def batches(file: Path) -> Iterator[pa.RecordBatch]:
    """Record batches of an Arrow stream, read one at a time. Not memory-mapped: what is read once is not to count as this process's memory."""
    with pa.OSFile(str(file)) as source, pa.ipc.open_stream(source) as reader:
        yield from reader


def lengths_of(file: Path) -> Ints:
    """Tokens of each document in an Arrow stream with a column `input_ids`: (N,)."""
    counted = (pc.list_value_length(batch.column("input_ids")).to_numpy() for batch in batches(file))
    return np.concatenate([np.empty(0, dtype=np.int32), *counted], dtype=np.int32)


def admit(tokenised: Path, source: str, policy: Overlong, max_length: int, target: Path) -> Documents:
    """Write the documents in `tokenised` that fit, or were made to fit, to `target`.

    A truncated document keeps its start; where no token with loss is left it is dropped, and its tokens count as lost.

    Args:
        tokenised: Arrow stream with `input_ids`, `loss_mask`, `subject` and what else a document has.
        source: its name in the manifest.
        policy: what becomes of longer documents.
        max_length: tokens a row holds.
        target: Arrow stream to write.

    Raises:
        InvalidData: documents are longer than `max_length` under the policy Error, or none is left.
    """
    before = lengths_of(tokenised)
    over_long = before > max_length
    if policy is Overlong.ERROR and over_long.any():
        found = f"{over_long.sum()} of {len(before)} samples over maxLength, the longest of {before.max()} tokens"
        remedy = "Raise maxLength, or set spec.data.overlong to Drop or Truncate, which count what they lose."
        raise InvalidData(f"source {source!r}", found=found, expected=f"at most {max_length} tokens a sample, template included", remedy=remedy)
    with pa.OSFile(str(target), "wb") as sink:
        columns = pa.Table.from_batches(list(_admitted(batches(tokenised), sink, policy, max_length)), NUMBERS)
    if not len(columns):
        found = f"no sample left of {len(before)}: {over_long.sum()} are over maxLength"
        raise InvalidData(
            f"source {source!r}", found=found, expected=f"samples of at most {max_length} tokens", remedy="Raise maxLength, or remove the source."
        )
    lengths, loss_tokens, identities = (columns.column(name).to_numpy() for name in ("length", "loss_tokens", "identity"))
    subjects = columns.column("subject").combine_chunks().dictionary_encode()
    names, subject_of = tuple(subjects.dictionary.to_pylist()), subjects.indices.to_numpy()
    lost = int(before.sum(dtype=np.int64) - lengths.sum(dtype=np.int64))
    return Documents(target, lengths, loss_tokens, identities, names, subject_of, len(before), int(over_long.sum()), lost)


NUMBERS = pa.schema([("length", pa.int32()), ("loss_tokens", pa.int32()), ("identity", pa.int64()), ("subject", pa.string())])


def _admitted(tokenised: Iterator[pa.RecordBatch], sink: pa.NativeFile, policy: Overlong, max_length: int) -> Iterator[pa.RecordBatch]:
    """Write what fits of each batch, and give its numbers."""
    writer = None
    for batch in tokenised:
        fitting = _fit(batch, policy, max_length)
        writer = writer or pa.ipc.new_stream(sink, batch.schema)
        writer.write_batch(fitting)
        yield _numbers(fitting)
    if writer:
        writer.close()


def _fit(batch: pa.RecordBatch, policy: Overlong, max_length: int) -> pa.RecordBatch:
    long = pc.greater(pc.list_value_length(batch.column("input_ids")), max_length)
    if not pc.any(long).as_py():
        return batch
    if policy is Overlong.DROP:
        return batch.filter(pc.invert(long))
    for name in ("input_ids", "loss_mask"):
        column = batch.schema.get_field_index(name)
        batch = batch.set_column(column, batch.schema.field(name), pc.list_slice(batch.column(name), 0, max_length))
    return batch.filter(pc.or_(pc.invert(long), pa.array(_loss_tokens(batch) > 0)))


def _numbers(batch: pa.RecordBatch) -> pa.RecordBatch:
    ids = batch.column("input_ids")
    identities = [int.from_bytes(hashlib.blake2b(tokens.values.to_numpy(), digest_size=8).digest(), "little", signed=True) for tokens in ids]
    columns = [pc.list_value_length(ids), pa.array(_loss_tokens(batch)), pa.array(identities, pa.int64()), batch.column("subject")]
    return pa.RecordBatch.from_arrays(columns, schema=NUMBERS)


def _loss_tokens(batch: pa.RecordBatch) -> Ints:
    """Tokens with loss in each document. The sums run over one cumulative sum: `reduceat` gives no 0 for an empty list."""
    mask = batch.column("loss_mask")
    reached = np.concatenate([[0], np.cumsum(mask.values.to_numpy())])
    counts: Ints = np.diff(reached[mask.offsets.to_numpy()]).astype(np.int32)
    return counts
