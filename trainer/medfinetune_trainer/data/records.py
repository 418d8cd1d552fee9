"""Record: what every file format becomes. Messages to learn from; for an examination question also what an evaluation asks and may be answered.

Training and evaluation see the same text: an exam's first message is the prompt that lm-evaluation-harness asks, the response is the choice it scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TUPLES = ("options", "choices", "also_right")


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: str
    """`system` (first only), `user` or `assistant`."""
    content: str


@dataclass(frozen=True)
class Record:
    """One sample of a source. Holds record text: no part of it but `where`, `source`, `language`, `domain` and `subject` belongs in a log."""

    where: str
    """`file:line`, or the file and the key of an entry: how messages name this record."""
    id: str
    """The file's own identifier, or else the line number; unique only as far as the file makes it so."""
    source: str
    """Name of the source or task in the manifest."""
    language: str
    domain: str
    """Empty for an evaluation task."""
    subject: str
    """Empty where neither file nor manifest names one."""
    messages: tuple[Message, ...]
    """Ends with an assistant's turn; user and assistant alternate after an optional system turn."""
    question: str = ""
    """The bare question of an exam; empty otherwise, as are the fields below."""
    options: tuple[str, ...] = ()
    """Texts of the options in order; for yes/no/maybe questions the choices themselves."""
    choices: tuple[str, ...] = ()
    """What may be answered: `A`, `B`, ... or `yes`, `no`, `maybe`."""
    answer: int = -1
    """Index into `choices`; -1 where the record is no exam question. The first where several are right."""
    also_right: tuple[int, ...] = ()
    """The other right answers of a question that has several, in rising order."""
    year: str = ""
    """Year of the examination in four digits; empty where the file names none."""

    @property
    def right(self) -> tuple[int, ...]:
        """Every right answer of an exam question: as a rule one."""
        return (self.answer, *self.also_right)

    @property
    def prompt(self) -> str:
        """The first user message: for an exam, exactly what the evaluation asks."""
        return next(message.content for message in self.messages if message.role == "user")

    def to_row(self) -> dict[str, Any]:
        """The record as an Arrow row; `arrow_features` has its types."""
        row = dict(vars(self))
        row["messages"] = [vars(message) for message in self.messages]
        return row | {name: list(row[name]) for name in _TUPLES}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Record:
        """The inverse of `to_row`."""
        return cls(**{**row, "messages": messages_of(row["messages"]), **{name: tuple(row[name]) for name in _TUPLES}})


def messages_of(turns: Sequence[Mapping[str, str]]) -> tuple[Message, ...]:
    """Messages from a row's `messages` column."""
    return tuple(Message(turn["role"], turn["content"]) for turn in turns)
