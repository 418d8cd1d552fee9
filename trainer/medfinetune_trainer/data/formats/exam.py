"""Exam, JSON Lines, CSV or Parquet: multiple-choice questions in columns that the manifest names, for files no one has foreseen.

An answer is one option or several: a list, or a text with commas, semicolons or bars between letters or numbers (`A,C`). Words may hold such marks, so in the
style Text several answers are a list, in CSV as JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from medfinetune_api.choices import AnswerStyle
from medfinetune_api.errors import InvalidManifest
from medfinetune_api.plan_data import ColumnsPlan

from medfinetune_trainer.data.formats.builder import Builder
from medfinetune_trainer.data.formats.options import json_of, listed, option_texts
from medfinetune_trainer.data.formats.prompts import prompt_form
from medfinetune_trainer.data.formats.row import Row, letter_index, letters, shown
from medfinetune_trainer.data.formats.rows import table_rows
from medfinetune_trainer.data.records import Record

_BETWEEN = re.compile("[,;|]")
_REMEDY = "Correct the answer, or answerStyle in the manifest."


def exam(build: Builder) -> Iterator[Record]:
    """Records of an Exam file, question by question as `build.columns` maps it. Raises InvalidData by file:line, InvalidManifest without columns."""
    columns, form = build.columns, prompt_form(build.language)
    if columns is None:
        raise InvalidManifest(build.source, found="format Exam without columns", expected="columns", remedy="Name the columns of question, options and answer.")
    for row in table_rows(build.file, ".jsonl", ".csv", ".parquet"):
        options = _options(row, columns)
        first, *others = _answers(row, row.value(columns.answer), columns.answer_style, options)
        question = row.text(columns.question)
        yield build.exam(
            row,
            question=question,
            options=options,
            choices=letters(len(options)),
            answer=first,
            also_right=tuple(others),
            prompt=form(question, options),
            subject=row.text_or_blank(columns.subject) if columns.subject else "",
            id_field=columns.id,
            year=row.year(columns.year) if columns.year else "",
        )


def _options(row: Row, columns: ColumnsPlan) -> tuple[str, ...]:
    """Texts of the options: one column each, or one column with a list, or with an object from letters to texts (in CSV, as JSON)."""
    if len(columns.options) > 1:
        return option_texts(row, [row.value(name) for name in columns.options])
    return listed(row, row.value(columns.options[0]))


def _answers(row: Row, value: object, style: AnswerStyle, options: tuple[str, ...]) -> list[int]:
    """Indexes of the right options in rising order. Raises InvalidData where one is outside the options, is named twice, or none is."""
    found = sorted(_answer(row, one, style, options) for one in _separated(row, value, style))
    if not found or len(set(found)) < len(found):
        what = "an answer that names an option twice" if found else "an empty list of answers"
        raise row.refuse(found=what, expected="every right option once", remedy="Correct the row.")
    return found


def _separated(row: Row, value: object, style: AnswerStyle) -> list[object]:
    if isinstance(value, str) and value.lstrip().startswith("[") and row.file.suffix == ".csv":
        value = json_of(row, value)
    if isinstance(value, list):
        return value
    return [*_BETWEEN.split(value)] if isinstance(value, str) and style is not AnswerStyle.TEXT else [value]


def _answer(row: Row, value: object, style: AnswerStyle, options: tuple[str, ...]) -> int:
    """Index of one right option. Raises InvalidData where it is none of them."""
    if style is AnswerStyle.LETTER:
        return letter_index(row, value, letters(len(options)), _REMEDY)
    if style is AnswerStyle.TEXT:
        return _answer_by_text(row, value, options)
    first = 1 if style is AnswerStyle.NUMBER else 0
    text = str(value).strip()
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 2 and not isinstance(value, bool) else -1
    if not first <= number < first + len(options):
        raise row.refuse(found=shown(value), expected=f"a number from {first} to {first + len(options) - 1}", remedy=_REMEDY)
    return number - first


def _answer_by_text(row: Row, value: object, options: tuple[str, ...]) -> int:
    matches = [index for index, option in enumerate(options) if option.strip() == str(value).strip()]
    if len(matches) != 1:
        raise row.refuse(
            found=f"an answer that equals {len(matches)} options", expected="the text of one option", remedy="Correct the row, or answerStyle in the manifest."
        )
    return matches[0]
