"""PubMedQA, one JSON object by PubMed identifier: QUESTION, CONTEXTS, final_decision (yes, no or maybe)."""

from __future__ import annotations

from collections.abc import Iterator

from medfinetune_trainer.data.formats.builder import Builder
from medfinetune_trainer.data.formats.entries import json_entries
from medfinetune_trainer.data.formats.prompts import abstract_prompt
from medfinetune_trainer.data.formats.row import Row, shown
from medfinetune_trainer.data.reading import kind_of
from medfinetune_trainer.data.records import Record

CHOICES = ("yes", "no", "maybe")


def pubmedqa(build: Builder) -> Iterator[Record]:
    """Records of a PubMedQA file. Raises InvalidData by file:line."""
    for line, key, values in json_entries(build.file):
        row = Row(build.file, line, values, key=key)
        contexts = row.value("CONTEXTS")
        if not isinstance(contexts, list) or not contexts:
            raise row.refuse(found=f"'CONTEXTS' that are no list of texts ({kind_of(contexts)})", expected="a list of texts", remedy="Complete the record.")
        decision = row.value("final_decision")
        if decision not in CHOICES:
            raise row.refuse(found=shown(decision), expected="yes, no or maybe", remedy="Correct 'final_decision'.")
        question = row.text("QUESTION")
        prompt = abstract_prompt(question, [row.as_text(context, "context") for context in contexts])
        yield build.exam(row, question=question, options=CHOICES, choices=CHOICES, answer=CHOICES.index(decision), prompt=prompt)
