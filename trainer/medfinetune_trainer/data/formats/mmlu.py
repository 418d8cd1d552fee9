"""MMLU, as both places publish it: rows with question, subject, choices and answer 0 to 3 (Hugging Face, Parquet or JSON Lines), or the authors' CSV without a
header (question, A to D, the right letter), one file a subject, which the file's name tells: `clinical_knowledge_test.csv`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from medfinetune_trainer.data.formats.builder import Builder
from medfinetune_trainer.data.formats.options import option_texts
from medfinetune_trainer.data.formats.prompts import mmlu_prompt
from medfinetune_trainer.data.formats.row import Row, letter_index, letters, shown
from medfinetune_trainer.data.formats.rows import table_rows
from medfinetune_trainer.data.reading import DataFile, csv_records
from medfinetune_trainer.data.records import Record

_CHOICES = letters(4)
_SUBJECT = re.compile(r"(.+)_(?:dev|val|test)\.csv(?:\.gz)?", re.IGNORECASE)
_HEADERLESS = "MMLU's own CSV has no header: remove it, or use the format Exam with columns."


def mmlu(build: Builder) -> Iterator[Record]:
    """Records of an MMLU file. Raises InvalidData by file:line."""
    for row, subject, options, answer in _headerless(build.file) if build.file.suffix == ".csv" else _published(build.file):
        if len(options) != len(_CHOICES):
            raise row.refuse(found=f"{len(options)} choices", expected="4", remedy="Complete the row, or use the format Exam.")
        question = row.text("question")
        prompt = mmlu_prompt(question, options, subject or build.subject)
        yield build.exam(row, question=question, options=options, choices=_CHOICES, answer=answer, prompt=prompt, subject=subject)


def _published(file: DataFile) -> Iterator[tuple[Row, str, tuple[str, ...], int]]:
    for row in table_rows(file, ".jsonl", ".parquet"):
        options, answer = row.value("choices"), row.value("answer")
        if not isinstance(options, list):
            raise row.refuse(found="'choices' that are no list", expected="a list of four texts", remedy="Correct the row, or use the format Exam.")
        if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(_CHOICES):
            raise row.refuse(found=shown(answer), expected="a number from 0 to 3", remedy="Correct 'answer', or use the format Exam with its answerStyle.")
        yield row, row.text_or_blank("subject").strip(), option_texts(row, options), answer


def _headerless(file: DataFile) -> Iterator[tuple[Row, str, tuple[str, ...], int]]:
    named = _SUBJECT.fullmatch(PurePosixPath(file.name).name)
    empty = True
    for line, fields in csv_records(file):
        empty = False
        if len(fields) != 2 + len(_CHOICES):
            raise file.refuse(line, found=f"{len(fields)} fields", expected="6: question, four options, letter", remedy=_HEADERLESS)
        row = Row(file, line, {"question": fields[0]})
        yield row, named.group(1) if named else "", option_texts(row, fields[1:-1]), letter_index(row, fields[-1], _CHOICES, _HEADERLESS)
    if empty:
        raise file.no_records()
