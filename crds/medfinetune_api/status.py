"""What is seen of a run from outside: the status subresource. Written by the operator, bounded throughout, free of record text."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, Field

from medfinetune_api.base import Contract
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason, ConditionStatus, ConditionType, Phase
from medfinetune_api.scalars import Count, ExitCode, Fraction, LanguageTag, Message, Name, Sha256

VolumePath = Annotated[str, Field(max_length=512)]
Quantity = Annotated[str, Field(max_length=32, pattern=r"^[0-9]+([.][0-9]+)?(Ki|Mi|Gi|Ti)?$")]


class Condition(Contract):
    """One standard condition."""

    type: ConditionType
    """What the condition is about."""
    status: ConditionStatus
    """True, False or Unknown."""
    reason: ConditionReason
    """Why, in one word."""
    message: Message
    """Why, in one sentence for a person; at most 1024 characters."""
    last_transition_time: AwareDatetime
    """When the status last changed."""
    observed_generation: Count
    """Generation of the spec that the condition speaks of."""


class Attempt(Contract):
    """One try of one stage."""

    stage: Stage
    """prepare, train or evaluate."""
    number: Annotated[int, Field(ge=1, le=1000)]
    """Number of the try among those of its stage, from 1."""
    start_time: AwareDatetime
    """When its Job was created."""
    end_time: AwareDatetime | None = None
    """When its Job ended; absent while it runs."""
    exit_code: ExitCode | None = None
    """Exit code by the contract's table; absent while it runs, or where the evidence was lost."""
    reason: ConditionReason | None = None
    """The exit code's reason; absent while it runs."""
    message: Message | None = None
    """The stage's own last sentence; at most 1024 characters."""


class Progress(Contract):
    """How far training is, as the trainer last reported it. Advisory: the Jobs decide."""

    step: Count
    """Optimizer steps done."""
    total_steps: Count
    """Optimizer steps of the whole run."""
    percent: Annotated[int, Field(ge=0, le=100)]
    """Share of the steps done, in percent."""
    epoch: Annotated[float, Field(ge=0, le=1000)]
    """Passes over the data done, with a fraction."""
    loss: Annotated[float, Field(ge=0)] | None = None
    """Training loss of the last step, in nats a loss token."""
    tokens_per_second: Annotated[float, Field(ge=0)] | None = None
    """Tokens trained on a second, over all ranks."""
    gpu_memory_peak: Quantity | None = None
    """Highest GPU memory allocated on any rank, such as 18.5Gi; absent without a GPU."""
    update_time: AwareDatetime
    """When the trainer was last heard of."""


class TaskResult(Contract):
    """Accuracy in one task, base and tuned on the same questions."""

    task: Name
    """Name of the task."""
    language: LanguageTag
    """Language of its questions."""
    questions: Count
    """Questions asked."""
    accuracy: Fraction
    """Share the tuned model answered rightly, 0 to 1."""
    low: Fraction
    """Lower end of the Wilson 95 % interval."""
    high: Fraction
    """Upper end of the Wilson 95 % interval."""
    base_accuracy: Fraction | None = None
    """Share the untuned base answered rightly; absent without a baseline."""


class Artifacts(Contract):
    """Where the run's results lie on the output volume."""

    folder: VolumePath
    """The run's folder, relative to the volume's root."""
    adapter: VolumePath | None = None
    """The adapter, relative to the folder; absent until it may be used."""
    plan_sha256: Sha256
    """Hash of the plan that produced them."""


class FineTuneStatus(Contract):
    """What is seen of the run."""

    observed_generation: Count | None = None
    """Generation of the spec that this status speaks of."""
    phase: Phase | None = None
    """The run in one word, for people; programs read conditions."""
    stage: Stage | None = None
    """Stage at work; absent before the first and after the last."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = ()
    """Accepted, Prepared, Trained, Evaluated, Succeeded, Failed."""
    attempts: Annotated[tuple[Attempt, ...], Field(max_length=64)] = ()
    """Tries of the stages, oldest first; at most 64."""
    progress: Progress | None = None
    """How far training is."""
    results: Annotated[tuple[TaskResult, ...], Field(max_length=64)] = ()
    """Accuracy by task, once evaluated."""
    artifacts: Artifacts | None = None
    """Where results lie."""
