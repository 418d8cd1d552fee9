"""What of a record is compared: the texts in which a clinician would know a question again.

An exam question is its stem with its options, in whatever order these stand: the same stem with other options is another question where the stem is a form
("which of the following is true?"), and the same one where the stem is a case, which then is most of the text. A free-text record is all that is said in it,
what the user says, and each turn of a longer conversation by itself, the system's too: a question may stand in any. A stem by itself is compared with free text
only, and only where it is long enough to be more than a form.

Lines are compared as a set, each without its enumeration (`A.`, `1)`, `①`), so that it does not matter whether options stand in the record's fields or in
the text that a user wrote.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from medfinetune_trainer.data.records import Record

SPECIFIC = 60
"""Characters of a normalised text, each Hangul syllable or ideograph counting as three, from which it is more than a form: a stem is then compared without its
options, and a question looked for inside longer texts."""

_ENUMERATION = re.compile(r"^\W?(?:[a-z]|\d{1,2}|question|abstract|answer|정답)[.):：]\s*", re.IGNORECASE)
_BARE_SIGNS = re.compile(r"(?<!\d)[./:]|[./:](?!\d)|-(?!\d)|(?<=[^\W\d])-")
"""A point, slash or colon that stands in no number, a hyphen before none or after a letter: 1.5 is not 15, 120/80 not 12080, -2.5 not 2.5."""
_WIDE = re.compile(r"[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff]")


class Kind(Enum):
    """What a text is of its record."""

    EXAM = "an exam's stem and options"
    STEM = "an exam's stem"
    TEXT = "free text"


def comparable(one: Kind, other: Kind) -> bool:
    """Whether two texts of these kinds may be the same question: a stem alone is compared with free text only."""
    return Kind.STEM not in (one, other) or Kind.TEXT in (one, other)


@dataclass(frozen=True)
class View:
    """One text of a record: `lines` as the record has them, without enumeration and white space around them."""

    kind: Kind
    lines: tuple[str, ...]

    @property
    def exact(self) -> str:
        """Equal where the texts are the same to the letter, in whatever order the options stand."""
        return "\n".join((self.lines[0], *sorted(self.lines[1:])))

    @cached_property
    def spaced(self) -> tuple[str, ...]:
        """The lines, each normalised."""
        return tuple(map(normalise, self.lines))

    @cached_property
    def compact(self) -> str:
        """The normalised lines without white space, in the record's order."""
        return "\n".join(filter(None, (line.replace(" ", "") for line in self.spaced)))

    @property
    def normalised(self) -> str:
        """Equal where nothing but case, width, white space, punctuation and the order of lines differs."""
        return "\n".join(sorted(self.compact.split("\n")))

    @property
    def specific(self) -> bool:
        """Whether it is long enough to be more than a form."""
        return sum(len(line) + 2 * len(_WIDE.findall(line)) for line in self.spaced) >= SPECIFIC


def question_views(record: Record) -> tuple[View, ...]:
    """The texts of an evaluation question, the one that stands for it first: an exam's with its options; of a generative task what the user says."""
    return _exam_views(record) if record.answer >= 0 else _views((_user(record),))


def record_views(record: Record) -> tuple[View, ...]:
    """The texts of a training record, the one that stands for it first: an exam's with its options; else all but the system's turn, the user, and each turn."""
    if record.answer >= 0:
        return _exam_views(record)
    spoken = [message.content for message in record.messages if message.role != "system"]
    system = [message.content for message in record.messages if message.role == "system"]
    return _views(("\n".join(spoken), _user(record), *(spoken if len(spoken) > 2 else ()), *system))


def normalise(text: str) -> str:
    """`text` by Unicode's NFKC, case folded, white space as single spaces, without punctuation but for signs that change a number."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(_BARE_SIGNS.sub(" ", folded.translate(_BLANKS)).split())


class _Blanks(dict[int, int]):
    """For `str.translate`: a blank for what is neither letter, mark, digit, symbol, nor a sign of numbers. Filled as characters occur."""

    def __missing__(self, code: int) -> int:
        category = unicodedata.category(chr(code))
        if category == "Pd" or code == 0x2212:
            self[code] = ord("-")
        else:
            self[code] = code if category[0] in "LMNS" or chr(code) in "./:%" else ord(" ")
        return self[code]


_BLANKS = _Blanks()


def _exam_views(record: Record) -> tuple[View, ...]:
    stem = _lines(record.question)
    whole, alone = View(Kind.EXAM, (*stem, *(line for option in record.options for line in _lines(option)))), View(Kind.STEM, stem)
    return (whole, alone) if alone.specific else (whole,)


def _views(texts: tuple[str, ...]) -> tuple[View, ...]:
    """Each text once: of a conversation of one turn, what the user says is that turn."""
    return tuple(View(Kind.TEXT, lines) for lines in dict.fromkeys(map(_lines, texts)) if lines)


def _user(record: Record) -> str:
    return "\n".join(message.content for message in record.messages if message.role == "user")


def _lines(text: str) -> tuple[str, ...]:
    lines = (_ENUMERATION.sub("", line.strip()) for line in text.splitlines())
    return tuple(line for line in lines if line)
