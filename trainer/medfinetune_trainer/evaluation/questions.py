"""From a task of the plan to the questions that are asked, base and tuned the same."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from hashlib import sha256
from math import ceil
from pathlib import Path

from medfinetune_api.choices import Format, Scoring
from medfinetune_api.errors import InvalidData
from medfinetune_api.plan_evaluation import TaskPlan

from medfinetune_trainer.artifacts.files import sha256_file, storage_errors
from medfinetune_trainer.data.formats import read_source
from medfinetune_trainer.data.formats.prompts import abstract_prompt, choices_prompt, mmlu_prompt, prompt_form
from medfinetune_trainer.data.formats.row import letters
from medfinetune_trainer.data.records import Record
from medfinetune_trainer.data.volume import inside
from medfinetune_trainer.evaluation.sampling import stratified_sample


@dataclass(frozen=True)
class Questions:
    """The questions of one task."""

    asked: list[Record]
    available: int
    """Questions in the file, of which `asked` may be a sample."""
    alike: frozenset[tuple[str, str]] | None = None
    """Those that resemble training records, by `file:line` and `question_sha256`; None where nothing was compared."""
    left_out: int = 0
    """Questions that are in no result because they resemble training records."""
    removed: list[Record] = field(default_factory=list)
    """Of these, those that are asked apart, for the accuracy before removal: all, or as large a share of them as `asked` is of the others."""


def read_questions(task: TaskPlan, mount: Path, seed: int, alike: Collection[int] | None = None, ask_alike: bool = True) -> Questions:
    """The questions of `task` from the data volume at `mount`; where the plan limits them, a sample in proportion to the subjects, drawn by `seed`.

    `alike` are the numbers (from 1) of those that resemble training records, None where nothing was compared; `ask_alike` says whether they are asked with the
    others.

    Raises InvalidData where the file cannot be read as the task's format, or holds records that ask nothing to choose from.
    """
    records = list(read_source(task, mount))
    for record in records:
        if not task.metrics:
            _refuse_unanswerable(task, record)
    resembling = {number - 1 for number in alike or ()}
    left = [index for index in range(len(records)) if ask_alike or index not in resembling]
    chosen = stratified_sample([records[index].subject for index in left], task.limit, seed)
    keys = frozenset((records[index].where, question_sha256(records[index])) for index in resembling)
    removed = [record for index, record in enumerate(records) if index in resembling and not ask_alike]
    drawn = stratified_sample([record.subject for record in removed], ceil(len(removed) * len(chosen) / len(left)) if left else None, seed)
    asked = [records[left[index]] for index in chosen]
    return Questions(asked, len(records), None if alike is None else keys, len(removed), [removed[index] for index in drawn])


def file_sha256(task: TaskPlan, mount: Path) -> str:
    """Hash of the file of `task` on the data volume at `mount`, as it lies there. Raises InvalidData where it cannot be read."""
    file = inside(mount, task.path, f"spec.evaluation.tasks[name={task.name}].path")
    with storage_errors(file):
        return sha256_file(file)


def question_sha256(record: Record) -> str:
    """What an answer is known by (`Answer.question`): of an exam its prompt, options included; of a conversation all that is asked."""
    return sha256((record.prompt if record.choices else conversation(record)).encode()).hexdigest()


def conversation(record: Record) -> str:
    """All turns but the last, which is the reference."""
    return "\n".join(message.content for message in record.messages[:-1])


def _refuse_unanswerable(task: TaskPlan, record: Record) -> None:
    if record.answer < 0:
        remedy = "Evaluate on examination questions: MedQA, KorMedMCQA, PubMedQA, MedMCQA, HeadQA, MMLU, USMLE or Exam."
        raise InvalidData(record.where, found=f"a record of format {task.format.value} without choices", expected="a question with choices", remedy=remedy)
    if record.also_right and task.scoring is Scoring.LETTER:
        remedy = f"Set scoring: Generation of task {task.name}: the letters that the model writes are compared with all right ones."
        raise InvalidData(record.where, found=f"a question with {len(record.right)} right answers", expected="one where scoring is Letter", remedy=remedy)


def prompt_template(task: TaskPlan, options: int) -> str:
    """The prompt of `task` with placeholders, for the results: what was asked, without a question's text."""
    names = tuple(f"{{{letter}}}" for letter in letters(options))
    if task.format is Format.PUBMEDQA:
        return abstract_prompt("{question}", ["{contexts}"])
    if task.format is Format.MEDMCQA:
        return choices_prompt("{question}", names)
    if task.format is Format.MMLU:
        return mmlu_prompt("{question}", names, "{subject}")
    language = {Format.MEDQA: "en", Format.USMLE: "en", Format.KORMEDMCQA: "ko"}.get(task.format, task.language)
    return prompt_form(language)("{question}", names)
