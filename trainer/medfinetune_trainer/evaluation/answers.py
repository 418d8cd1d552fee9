"""What stays of every answer once the samples are purged: which question, right or wrong, how sure; no text.

`evaluation/answers_<variant>_<task>.jsonl`, one Answer a line, in the order of asking. By these a later run, a gate or a person compares two runs question by
question. Equal questions are found by the hash of what was asked: another file, another order or another sample of it does not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, TypeVar

from medfinetune_api.base import Contract
from medfinetune_api.errors import OutputConflict
from medfinetune_api.layout import RunFolder
from medfinetune_api.results_evaluation import GroupLabel, MetricName, SubjectName
from medfinetune_api.scalars import Count, Fraction, Sha256
from pydantic import Field, ValidationError

from medfinetune_trainer.artifacts.files import write_text

T = TypeVar("T")


class Answer(Contract):
    """One question as one variant answered it."""

    where: str
    """`file:line` of the question."""
    question: Sha256
    """SHA-256 of the prompt as it was asked, options included: equal where the same was asked."""
    subject: SubjectName = ""
    """As the file names it; empty where it names none."""
    groups: Annotated[tuple[GroupLabel, ...], Field(max_length=8)] = ()
    """By what else it is told apart: `year=2022`, `law=yes`."""
    right: bool | None = None
    """Whether the right option was chosen; absent where answers are measured instead."""
    chosen: Count | None = None
    """Index of the chosen option; absent where none was."""
    confidence: Fraction | None = None
    """Probability of the chosen option among the options; absent where options have no likelihoods."""
    measured: Annotated[Mapping[MetricName, Fraction], Field(max_length=5)] = Field(default_factory=dict)
    """Of an answer in the model's own words: each metric's value."""


def write_answers(folder: RunFolder, variant: str, task: str, answers: Iterable[Answer]) -> None:
    """Write the answers of one variant to one task. Raises StorageFailed; OutputConflict as `fence.check`."""
    write_text(folder.answers(variant, task), "".join(f"{answer.to_json()}\n" for answer in answers))


def read_answers(folder: RunFolder, variant: str, task: str) -> list[Answer]:
    """The answers of one variant to one task. Raises OutputConflict where the run has none, or they are damaged."""
    file = folder.answers(variant, task)
    try:
        return [Answer.model_validate_json(line) for line in file.read_bytes().splitlines()]
    except (FileNotFoundError, ValidationError) as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else "lines that are no answers"
        remedy = "Name a run that evaluated this task with this version; evaluate it again where its files are damaged."
        raise OutputConflict(str(file), found=found, expected=f"what {variant} answered to {task}", remedy=remedy) from None


def once(tasks: Iterable[Sequence[T]], question: Callable[[T], str]) -> list[T]:
    """What several tasks of a language asked, without what an earlier one had asked: one file in two tasks says nothing twice."""
    found, asked = list[T](), set[str]()
    for answers in tasks:
        new = [answer for answer in answers if question(answer) not in asked]
        asked.update(map(question, new))
        found += new
    return found


def paired(before: Sequence[Answer], after: Sequence[Answer]) -> list[tuple[Answer, Answer]]:
    """The questions that both answered, in the order of `after`; one that was asked several times is paired as often as both have it."""
    earlier = dict(_numbered(before))
    return [(earlier[key], answer) for key, answer in _numbered(after) if key in earlier]


def _numbered(answers: Iterable[Answer]) -> Iterator[tuple[tuple[str, int], Answer]]:
    """Each answer under its question and how often that was asked before: examination files repeat questions."""
    seen: Counter[str] = Counter()
    for answer in answers:
        yield (answer.question, seen[answer.question]), answer
        seen[answer.question] += 1
