"""Items: what is kept of a question or record while it is compared: hashes, n-grams, and the normalised text; as it stands only where an embedding model will
read it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from medfinetune_api.plan_data import SourcePlan
from medfinetune_api.plan_evaluation import TaskPlan

from medfinetune_trainer.contamination.ngrams import Grams, Shingles, grams_of, primary, shingles
from medfinetune_trainer.contamination.texts import Kind, View, question_views, record_views
from medfinetune_trainer.data.formats import read_source
from medfinetune_trainer.data.records import Record

T = TypeVar("T")


@dataclass(frozen=True)
class Text:
    """One view of a record."""

    kind: Kind
    exact: int
    """64-bit hashes: equal for texts that are the same to the letter, and that are the same when normalised."""
    normalised: int
    shingles: Shingles
    compact: str
    """The normalised lines without white space: what a shorter text may stand in."""
    specific: bool
    """Whether it is long enough to be looked for inside others."""
    run: int
    """Characters in a row by which longer texts are searched for it."""


@dataclass(frozen=True)
class Item:
    """One question of a task, or record of a source."""

    group: int
    """Which task or source, by its place in the plan."""
    number: int
    """Its place among the records of its file, from 1."""
    where: str
    """`file:line`."""
    language: str
    """Primary language tag."""
    texts: tuple[Text, ...]
    """The first stands for the item."""
    content: str
    """What an embedding model reads; empty where there is none."""


def questions_in(group: int, task: TaskPlan, mount: Path, embedded: bool) -> Iterator[Item]:
    """The questions of a task, in the file's order. Raises InvalidData as `read_source`."""
    return _items(group, task, mount, question_views, embedded)


def records_in(group: int, source: SourcePlan, mount: Path, embedded: bool) -> Iterator[Item]:
    """The records of a source, in the file's order. Raises InvalidData as `read_source`."""
    return _items(group, source, mount, record_views, embedded)


def batches(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` of them, the last one shorter."""
    while batch := list(islice(items, size)):
        yield batch


def _items(group: int, entry: TaskPlan | SourcePlan, mount: Path, views: Callable[[Record], tuple[View, ...]], embedded: bool) -> Iterator[Item]:
    for number, record in enumerate(read_source(entry, mount), start=1):
        yield item_of(group, number, record, views(record), embedded)


def item_of(group: int, number: int, record: Record, views: tuple[View, ...], embedded: bool) -> Item:
    """What is kept of `record`."""
    grams = grams_of(record.language)
    texts = tuple(_text(view, grams) for view in views)
    return Item(group, number, record.where, primary(record.language), texts, "\n".join(views[0].lines) if embedded else "")


def _text(view: View, grams: Grams) -> Text:
    return Text(view.kind, _hash(view.exact), _hash(view.normalised), shingles(view.spaced, grams), view.compact, view.specific, grams.run)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
