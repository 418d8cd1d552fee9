"""MedQA (USMLE), JSON Lines: question, options {A: ..}, answer_idx, and answer to check it by; four or five options, as many in each row as in the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from medfinetune_trainer.data.formats.builder import Builder
from medfinetune_trainer.data.formats.prompts import english_prompt
from medfinetune_trainer.data.formats.row import Row, letter_index, letters
from medfinetune_trainer.data.reading import json_lines
from medfinetune_trainer.data.records import Record


def medqa(build: Builder) -> Iterator[Record]:
    """Records of a MedQA file. Raises InvalidData by file:line."""
    expected = 0
    for line, values in json_lines(build.file):
        row = Row(build.file, line, values)
        options = _options(row, expected)
        expected = len(options)
        choices = letters(expected)
        answer = letter_index(row, row.value("answer_idx"), choices)
        if values.get("answer", options[answer]) != options[answer]:
            raise row.refuse(found=f"an 'answer' that is not option {choices[answer]}, as 'answer_idx' says", expected="the same", remedy="Correct the row.")
        question = row.text("question")
        yield build.exam(row, question=question, options=options, choices=choices, answer=answer, prompt=english_prompt(question, options))


def _options(row: Row, expected: int) -> tuple[str, ...]:
    """The options in the order of their letters; `expected` many, or 4 or 5 where it is 0."""
    found = row.value("options")
    if not isinstance(found, Mapping):
        raise row.refuse(found="'options' that are no object", expected="an object from letters to texts", remedy="Correct the row, or use the format Exam.")
    names = letters(expected or max(4, min(5, len(found))))
    missing = [name for name in names if name not in found]
    if missing or len(found) != len(names):
        what = f"no option {', '.join(missing)}" if missing else f"{len(found)} options"
        raise row.refuse(found=what, expected=f"the options {names[0]} to {names[-1]}", remedy="Complete the row, or use the format Exam.")
    return tuple(row.as_text(found[name], f"option {name}") for name in names)
