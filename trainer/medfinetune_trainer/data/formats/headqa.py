"""HEAD-QA, as both places publish it: rows with qtext, ra (the right answer's aid), answers [{aid, atext}] and category (Hugging Face, Parquet or JSON Lines),
or the authors' one JSON object {exams: {name: {year, category, data: [question, ..]}}} under `.json`, in which numbers are texts.

A question may show an image, which is not asked: its text is, as the harness does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medfinetune_trainer.data.formats.builder import Builder
from medfinetune_trainer.data.formats.entries import exam_questions
from medfinetune_trainer.data.formats.options import option_texts
from medfinetune_trainer.data.formats.prompts import prompt_form
from medfinetune_trainer.data.formats.row import Row, letters
from medfinetune_trainer.data.formats.rows import table_rows
from medfinetune_trainer.data.reading import DataFile
from medfinetune_trainer.data.records import Record


def headqa(build: Builder) -> Iterator[Record]:
    """Records of a HEAD-QA file. Raises InvalidData by file:line."""
    form = prompt_form(build.language)
    for row in _nested(build.file) if build.file.suffix == ".json" else table_rows(build.file, ".jsonl", ".parquet"):
        aids, options = _answers(row)
        question, choices = row.text("qtext"), letters(len(options))
        yield build.exam(
            row,
            question=question,
            options=options,
            choices=choices,
            answer=_right(row, aids),
            prompt=form(question, options),
            subject=row.text_or_blank("category").strip(),
            id_field="qid",
            year=row.year("year"),
        )


def _nested(file: DataFile) -> Iterator[Row]:
    for number, (line, exam, question) in enumerate(exam_questions(file), start=1):
        yield Row(file, line, question | {name: exam[name] for name in ("category", "year") if name in exam}, number=number)


def _answers(row: Row) -> tuple[list[int], tuple[str, ...]]:
    """Numbers and texts of the options, in the file's order."""
    found = row.value("answers")
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise row.refuse(found="'answers' that are no list of objects", expected="objects with aid and atext", remedy="Correct the row.")
    return [_number(row, one.get("aid"), "aid") for one in found], option_texts(row, [one.get("atext") for one in found])


def _right(row: Row, aids: list[int]) -> int:
    """Index of the answer that `ra` names."""
    right = _number(row, row.value("ra"), "ra")
    if right == 0:
        raise row.refuse(found="a question without an answer ('ra' 0)", expected="the right answer's aid", remedy="Remove it: such a question was struck out.")
    if aids.count(right) != 1:
        raise row.refuse(found=f"{aids.count(right)} answers with the 'aid' that 'ra' names", expected="one", remedy="Correct the row.")
    return aids.index(right)


def _number(row: Row, value: Any, name: str) -> int:
    """A number or its text, 0 to 99."""
    text = str(value).strip()
    if isinstance(value, bool) or not (text.isascii() and text.isdigit() and len(text) <= 2):
        raise row.refuse(found=f"{name!r} that is no small number", expected="a number such as 1", remedy="Correct the row.")
    return int(text)
