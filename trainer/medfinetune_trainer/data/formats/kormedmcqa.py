"""KorMedMCQA, CSV: subject, year, question, A to E, answer as a letter."""

from __future__ import annotations

from collections.abc import Iterator

from medfinetune_trainer.data.formats.builder import Builder
from medfinetune_trainer.data.formats.prompts import korean_prompt
from medfinetune_trainer.data.formats.row import Row, letter_index, letters
from medfinetune_trainer.data.reading import csv_rows
from medfinetune_trainer.data.records import Record

SUBJECTS = {"pharm": "pharmacist", "pharmacy": "pharmacist"}
"""The published files write one subject in two ways (pharm's test split holds both); doctor, nurse and dentist stand as they are."""

_DIGITS = (
    "Answers by digit are those of KorMedMCQA's fewshot.csv, whose rows are copies from valid.csv: use train.csv, valid.csv or test.csv, "
    "or declare the format Exam with answerStyle Number."
)


def kormedmcqa(build: Builder) -> Iterator[Record]:
    """Records of a KorMedMCQA file. Raises InvalidData by file:line."""
    choices = letters(5)
    for line, values in csv_rows(build.file):
        row = Row(build.file, line, values)
        options = tuple(row.as_text(row.value(letter), f"option {letter}") for letter in choices)
        found = row.text("answer").strip()
        answer = letter_index(row, found, choices, _DIGITS if found.isdigit() else "Correct the answer.")
        question = row.text("question")
        subject = row.text_or_blank("subject").strip()
        yield build.exam(
            row,
            question=question,
            options=options,
            choices=choices,
            answer=answer,
            prompt=korean_prompt(question, options),
            subject=SUBJECTS.get(subject, subject),
            year=row.year("year"),
        )
