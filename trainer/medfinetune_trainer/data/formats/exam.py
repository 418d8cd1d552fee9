"""Exam, JSON Lines or CSV: multiple-choice questions in columns that the manifest names, for files no one has foreseen."""

from __future__ import annotations

import json
from collections.abc import Iterator

from medfinetune_api.choices import AnswerStyle
from medfinetune_api.errors import InvalidManifest
from medfinetune_api.plan_data import ColumnsPlan

from medfinetune_trainer.data.formats.builder import Builder
from medfinetune_trainer.data.formats.prompts import prompt_form
from medfinetune_trainer.data.formats.row import Row, letter_index, letters, shown
from medfinetune_trainer.data.reading import RepeatedNameError, csv_rows, json_lines, object_of_once, repeated_name
from medfinetune_trainer.data.records import Record

_TWO_TO_26 = range(2, 27)


def exam(build: Builder) -> Iterator[Record]:
    """Records of an Exam file, question by question as `build.columns` maps it. Raises InvalidData by file:line, InvalidManifest without columns."""
    columns, form = build.columns, prompt_form(build.language)
    if columns is None:
        raise InvalidManifest(build.source, found="format Exam without columns", expected="columns", remedy="Name the columns of question, options and answer.")
    if build.file.suffix not in (".csv", ".jsonl"):
        raise build.file.refuse(None, found=f"a file that ends in {build.file.suffix!r}", expected=".jsonl or .csv", remedy="Rename or convert it.")
    rows = csv_rows(build.file) if build.file.suffix == ".csv" else json_lines(build.file)
    for line, values in rows:
        row = Row(build.file, line, values)
        options = _options(row, columns)
        choices = letters(len(options))
        answer = _answer(row, row.value(columns.answer), columns.answer_style, options)
        question = row.text(columns.question)
        subject = row.text_or_blank(columns.subject) if columns.subject else ""
        yield build.exam(
            row, question=question, options=options, choices=choices, answer=answer, prompt=form(question, options), subject=subject, id_field=columns.id
        )


def _options(row: Row, columns: ColumnsPlan) -> tuple[str, ...]:
    """Texts of the options: one column each, or one column with a list, or with an object from letters to texts (in CSV, as JSON)."""
    several = len(columns.options) > 1
    found = [row.value(name) for name in columns.options] if several else _listed(row, row.value(columns.options[0]))
    if len(found) not in _TWO_TO_26:
        raise row.refuse(found=f"{len(found)} options", expected="2 to 26", remedy="Complete the row, or check the options' column in the manifest.")
    return tuple(row.as_text(option, f"option {letter}") for letter, option in zip(letters(len(found)), found, strict=True))


def _listed(row: Row, value: object) -> list[object]:
    if isinstance(value, str):
        try:
            value = json.loads(value, object_pairs_hook=object_of_once)
        except RepeatedNameError:
            raise repeated_name(row.file, row.line) from None
        except (ValueError, RecursionError):
            raise row.refuse(found="options that are no JSON", expected="a JSON list or object", remedy="Name one column an option in the manifest.") from None
    if isinstance(value, dict):
        texts = {str(key).upper(): text for key, text in value.items()}
        names = letters(min(len(value), 26))
        missing = [name for name in names if name not in texts]
        if missing:
            raise row.refuse(found=f"no option {', '.join(missing)}", expected="options by consecutive letters from A", remedy="Complete the row.")
        return [texts[name] for name in names]
    return value if isinstance(value, list) else []


def _answer(row: Row, value: object, style: AnswerStyle, options: tuple[str, ...]) -> int:
    """Index of the right option. Raises InvalidData where the answer is outside the options."""
    remedy = "Correct the answer, or answerStyle in the manifest."
    if style is AnswerStyle.LETTER:
        return letter_index(row, value, letters(len(options)), remedy)
    if style is AnswerStyle.TEXT:
        return _answer_by_text(row, value, options)
    first = 1 if style is AnswerStyle.NUMBER else 0
    text = str(value).strip()
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 2 and not isinstance(value, bool) else -1
    if not first <= number < first + len(options):
        raise row.refuse(found=shown(value), expected=f"a number from {first} to {first + len(options) - 1}", remedy=remedy)
    return number - first


def _answer_by_text(row: Row, value: object, options: tuple[str, ...]) -> int:
    matches = [index for index, option in enumerate(options) if option.strip() == str(value).strip()]
    if len(matches) != 1:
        raise row.refuse(
            found=f"an answer that equals {len(matches)} options", expected="the text of one option", remedy="Correct the row, or answerStyle in the manifest."
        )
    return matches[0]
