"""USMLE self-assessment and sample examinations, as they are published in MedQA's way: question, options {A: ..}, answer_idx; two to 26 options.

Parquet gives every row the letters of the longest question, null where it has fewer (HuggingSara/usmle_self_assessment: A to I); so does JSON Lines made from
it. There is no task of lm-evaluation-harness: the prompt is MedQA's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from medfinetune_trainer.data.formats.builder import Builder
from medfinetune_trainer.data.formats.options import by_letter
from medfinetune_trainer.data.formats.prompts import english_prompt
from medfinetune_trainer.data.formats.row import Row, letter_index, letters
from medfinetune_trainer.data.formats.rows import table_rows
from medfinetune_trainer.data.records import Record


def usmle(build: Builder) -> Iterator[Record]:
    """Records of a file of USMLE questions. Raises InvalidData by file:line."""
    for row in table_rows(build.file, ".jsonl", ".parquet"):
        options = _options(row)
        choices = letters(len(options))
        answer = letter_index(row, row.value("answer_idx"), choices)
        if row.values.get("answer", options[answer]) not in (options[answer], choices[answer]):
            raise row.refuse(found=f"an 'answer' that is not option {choices[answer]}, as 'answer_idx' says", expected="the same", remedy="Correct the row.")
        question = row.text("question")
        yield build.exam(row, question=question, options=options, choices=choices, answer=answer, prompt=english_prompt(question, options))


def _options(row: Row) -> tuple[str, ...]:
    found = row.value("options")
    if not isinstance(found, Mapping):
        raise row.refuse(found="'options' that are no object", expected="an object from letters to texts", remedy="Correct the row, or use the format Exam.")
    return by_letter(row, {letter: text for letter, text in found.items() if text is not None})
