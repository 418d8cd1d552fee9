"""Redact: each finding replaced by its type, such as [PHONE_NUMBER], in the record itself, before it is rendered: tokens and loss mask are those of the text
that is trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from medfinetune_trainer.data.records import Message, Record
from medfinetune_trainer.privacy.place import Place


def redacted(text: str, places: Iterable[Place]) -> str:
    """`text` with its places, in order and apart, replaced by their types."""
    pieces, end = [], 0
    for place in places:
        pieces += [text[end : place.start], f"[{place.type}]"]
        end = place.end
    return "".join([*pieces, text[end:]])


def redacted_record(record: Record, redact: Callable[[str], str]) -> Record:
    """`record` with `redact` applied to all its text; its identifier, which may be a patient's, becomes its line's number."""
    return replace(
        record,
        id=record.where.rpartition(":")[2],
        subject=redact(record.subject),
        messages=tuple(Message(message.role, redact(message.content)) for message in record.messages),
        question=redact(record.question),
        options=tuple(map(redact, record.options)),
    )
