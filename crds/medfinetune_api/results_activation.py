"""`evaluation/activations.json`: in which decoder layers the adapter acts, by task."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medfinetune_api.base import Contract
from medfinetune_api.scalars import ENTRIES, Count, LanguageTag, Name, Sha256

Strength = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class TaskActivation(Contract):
    """How strongly the adapter acts on the questions of one task."""

    task: Name
    """Name of the task."""
    language: LanguageTag
    """Language of its questions."""
    questions: Count
    """Questions read."""
    layers: Annotated[tuple[Strength, ...], Field(max_length=1024)]
    """By decoder layer, the first one first: norm of what the adapter adds to a linear layer's output, as a share of that output's norm; mean over the
    layer's adapted modules, over each question's tokens, then over the questions."""


class Activations(Contract):
    """The content of the file."""

    plan_sha256: Sha256
    """Hash of the plan it belongs to."""
    tasks: Annotated[tuple[TaskActivation, ...], Field(max_length=ENTRIES)]
    """One entry a task, in the plan's order."""
