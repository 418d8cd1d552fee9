"""Chat, JSON Lines: {messages: [{role, content}, ...]}; an optional system turn, then user and assistant in turn, the assistant last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from medfinetune_trainer.data.formats.builder import Builder
from medfinetune_trainer.data.formats.row import Row
from medfinetune_trainer.data.reading import json_lines, kind_of
from medfinetune_trainer.data.records import Message, Record

ROLES = ("system", "user", "assistant")


def chat(build: Builder) -> Iterator[Record]:
    """One conversation a line. Raises InvalidData by file:line."""
    for line, values in json_lines(build.file):
        row = Row(build.file, line, values)
        turns = row.value("messages")
        if not isinstance(turns, list):
            raise row.refuse(found=f"'messages' that are no list ({kind_of(turns)})", expected="a list of messages", remedy="Correct the row.")
        messages = tuple(_message(row, number, turn) for number, turn in enumerate(turns, start=1))
        _refuse_disorder(row, [message.role for message in messages])
        yield build.record(row, messages)


def _message(row: Row, number: int, turn: object) -> Message:
    role = turn.get("role") if isinstance(turn, Mapping) else None
    if not isinstance(turn, Mapping) or role not in ROLES:
        raise row.refuse(
            found=f"message {number} without a known role", expected="role system, user or assistant", remedy="Rename the role; tool turns are not trained on."
        )
    return Message(str(role), row.as_text(turn.get("content"), f"content of message {number}"))


def _refuse_disorder(row: Row, roles: list[str]) -> None:
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns or len(turns) % 2 or turns != ["user", "assistant"] * (len(turns) // 2):
        expected = "an optional system turn, then user and assistant in turn, the assistant last"
        raise row.refuse(found=f"{len(roles)} messages out of order", expected=expected, remedy="Reorder, merge or remove turns.")
