"""What prepare refuses of tasks whose answers are written, before anything is trained: answers that the base has no room for, glossaries that cannot be read,
and entities where no reference has one. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medfinetune_api.choices import Scoring, TextMetric
from medfinetune_api.errors import InvalidManifest
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_evaluation import TaskPlan

from medfinetune_trainer.data.records import Record
from medfinetune_trainer.evaluation.entities import Entities
from medfinetune_trainer.evaluation.glossary import Glossary, glossary_of
from medfinetune_trainer.model.architectures import text_config


def refuse_unwritable(plan: RunPlan, base: Path, asked: Mapping[str, Sequence[Record]]) -> None:
    """Refuse tasks of the plan that cannot be answered or measured in words; `base` is the model's folder, `asked` are the questions by task.

    Raises:
        InvalidManifest: maxNewTokens leaves no position for a question, or EntityF1 is asked for where no reference has an entity.
        InvalidData: a glossary cannot be read as terms, one a line.
    """
    for glossary in plan.evaluation.glossaries:
        glossary_of(plan, glossary.language)
    for number, task in enumerate(plan.evaluation.tasks):
        _refuse_no_room(plan, base, task, f"spec.evaluation.tasks[{number}]")
        _refuse_no_entities(plan, task, asked[task.name], f"spec.evaluation.tasks[{number}]")


def _refuse_no_room(plan: RunPlan, base: Path, task: TaskPlan, field: str) -> None:
    positions, prefix = text_config(base).get("max_position_embeddings"), plan.tuning.prefix.num_virtual_tokens if plan.tuning.prefix else 0
    written = bool(task.metrics) or task.scoring is Scoring.GENERATION
    if written and isinstance(positions, int) and task.max_new_tokens >= positions - prefix:
        expected = f"fewer than {positions - prefix}, the positions of the base" + (f" behind a prefix of {prefix}" if prefix else "")
        raise InvalidManifest(f"{field}.maxNewTokens", found=str(task.max_new_tokens), expected=expected, remedy="Leave room for the question.")


def _refuse_no_entities(plan: RunPlan, task: TaskPlan, asked: Sequence[Record], field: str) -> None:
    if TextMetric.ENTITY_F1 not in task.metrics:
        return
    entities = Entities(glossary_of(plan, task.language) or Glossary())
    if not any(entities.found(record.messages[-1].content) for record in asked):
        remedy = "Give a glossary of this language in spec.evaluation.glossaries, or remove EntityF1."
        expected = "a quantity with its unit, or a term of a glossary, in at least one"
        raise InvalidManifest(f"{field}.metrics", found=f"EntityF1 of {len(asked)} references without an entity", expected=expected, remedy=remedy)
