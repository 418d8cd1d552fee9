"""MedMCQA, in both published layouts: question, opa to opd, cop (the right option), subject_name.

The authors' own files (JSON Lines under `.json`) count `cop` from 1; the copy on Hugging Face (Parquet) counts from 0, though its card says 1 to 4, and writes
-1 where the answer is withheld (huggingface/datasets #4064, medmcqa/medmcqa #9). One layout read as the other makes every answer wrong, and nothing else
would show it. So the whole file is looked through first: a 0 proves the one, a 4 the other, and a file that proves neither, or both, is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from medfinetune_api.errors import InvalidData

from medfinetune_trainer.data.formats.builder import Builder
from medfinetune_trainer.data.formats.prompts import choices_prompt
from medfinetune_trainer.data.formats.row import Row, letters, shown
from medfinetune_trainer.data.formats.rows import table_rows
from medfinetune_trainer.data.reading import DataFile
from medfinetune_trainer.data.records import Record

_COLUMNS = ("opa", "opb", "opc", "opd")
_MAPPED = "columns {question: question, options: [opa, opb, opc, opd], answer: cop, answerStyle: Number (cop 1 to 4) or Index (cop 0 to 3)}"


def medmcqa(build: Builder) -> Iterator[Record]:
    """Records of a MedMCQA file, which is read twice. Raises InvalidData by file:line."""
    first = _first_number(build.file)
    choices = letters(4)
    for row in _rows(build.file):
        options = tuple(row.as_text(row.value(name), f"option {letter}") for name, letter in zip(_COLUMNS, choices, strict=True))
        question = row.text("question")
        prompt, subject = choices_prompt(question, options), row.text_or_blank("subject_name").strip()
        yield build.exam(row, question=question, options=options, choices=choices, answer=_cop(row) - first, prompt=prompt, subject=subject)


def _rows(file: DataFile) -> Iterator[Row]:
    return table_rows(file, ".json", ".jsonl", ".parquet")


def _cop(row: Row) -> int:
    """The right option as the file counts it, 0 to 4."""
    value = row.values.get("cop", -1)
    if value is None or value == -1:
        remedy = "The test split is published without answers: use the validation split (dev), or remove such rows."
        raise row.refuse(found="a question without an answer (cop)", expected="the right option", remedy=remedy)
    if not isinstance(value, int) or isinstance(value, bool) or value not in range(5):
        raise row.refuse(found=shown(value), expected="a number from 0 to 4 under 'cop'", remedy="Correct 'cop'.")
    return value


def _first_number(file: DataFile) -> int:
    """What `cop` calls the first option in this file: 0 or 1. Raises InvalidData where the file does not tell."""
    lines: dict[int, int] = {}
    for row in _rows(file):
        lines.setdefault(_cop(row), row.line)
        if {0, 4} <= lines.keys():
            remedy = "Separate rows of the two published layouts, or correct 'cop'."
            raise row.refuse(found=f"'cop' of {_cop(row)}, and of {4 - _cop(row)} at line {lines[4 - _cop(row)]}", expected="0 to 3, or 1 to 4", remedy=remedy)
    if not {0, 4} & lines.keys():
        raise _untold(file)
    return 1 if 4 in lines else 0


def _untold(file: DataFile) -> InvalidData:
    found = "no 'cop' of 0 and none of 4: the file does not tell whether it counts the options from 0 (Hugging Face) or from 1 (the original)"
    return file.refuse(None, found=found, expected="either of the two", remedy=f"Use the whole published file, or format Exam with {_MAPPED}.")
