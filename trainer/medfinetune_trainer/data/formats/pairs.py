"""Free-text pairs, JSON Lines: QuestionAnswer (question, answer; so MedQuAD) and Instruction (instruction, input, output; or self-instruct's instances)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from medfinetune_trainer.data.formats.builder import Builder
from medfinetune_trainer.data.formats.row import Row
from medfinetune_trainer.data.reading import json_lines
from medfinetune_trainer.data.records import Message, Record


def question_answer(build: Builder) -> Iterator[Record]:
    """One record a line. Raises InvalidData by file:line."""
    for line, values in json_lines(build.file):
        row = Row(build.file, line, values)
        yield build.record(row, _turns(row.text("question"), row.text("answer")))


def instruction(build: Builder) -> Iterator[Record]:
    """One record a line, or one an instance where a line holds several. Raises InvalidData by file:line."""
    for line, values in json_lines(build.file):
        row = Row(build.file, line, values)
        instances = values.get("instances", [values])
        if not isinstance(instances, list) or not instances or not all(isinstance(instance, Mapping) for instance in instances):
            raise row.refuse(found="'instances' that are no list of objects", expected="objects with input and output", remedy="Correct the row.")
        for number, instance in enumerate(instances, start=1):
            record = build.record(row, _instruction_turns(row, Row(build.file, line, instance)))
            yield record if number == 1 else replace(record, id=f"{record.id}/{number}")


def _instruction_turns(row: Row, instance: Row) -> tuple[Message, ...]:
    given = instance.text_or_blank("input")
    asked = row.text("instruction")
    return _turns(f"{asked}\n\n{given}" if given.strip() else asked, instance.text("output"))


def _turns(asked: str, answered: str) -> tuple[Message, ...]:
    return Message("user", asked), Message("assistant", answered)
