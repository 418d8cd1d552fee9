"""What is seen of a run from outside: the status subresource. Written by the operator, bounded throughout, free of record text."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, Field

from medfinetune_api.base import Contract
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason, ConditionStatus, ConditionType, Phase
from medfinetune_api.results import TaskResult
from medfinetune_api.scalars import ENTRIES, ClaimName, Count, ExitCode, Folder, Message, ObjectName, Rows, Sha256

AttemptNumber = Annotated[int, Field(ge=1, le=9999)]
RankIndex = Annotated[int, Field(ge=0, le=4095)]
ObjectUid = Annotated[str, Field(max_length=64)]
Quantity = Annotated[str, Field(max_length=32, pattern=r"^[0-9]+([.][0-9]+)?(Ki|Mi|Gi|Ti)?$")]
Seconds = Annotated[float, Field(ge=0)]


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


class PodEnding(Contract):
    """How one pod of an attempt ended; written down when it is seen, because pods are removed."""

    index: RankIndex
    """Completion index, which is the node's rank in the gang."""
    reason: ConditionReason
    """Why, as the pod alone tells."""
    exit_code: ExitCode | None = None
    """Exit code of its container; absent where it left none."""
    node: ObjectName | None = None
    """Name of the cluster's node it ran on."""


class Attempt(Contract):
    """One try of one stage: one Job, `<run>-<stage>-a<number>`."""

    stage: Stage
    """prepare, train, evaluate, purge or release."""
    number: AttemptNumber
    """Number of the try among those of its stage, from 1."""
    start_time: AwareDatetime
    """When it was decided; its Job is created after that."""
    job_uid: ObjectUid | None = None
    """Uid of its Job; absent until the Job was seen."""
    running_time: AwareDatetime | None = None
    """When all of its pods were first seen running; its active seconds and the stall timeout count from then."""
    end_time: AwareDatetime | None = None
    """When its ending was classified; absent while it lives."""
    stopping: ConditionReason | None = None
    """Why its Job is being deleted by the operator; absent unless it is, or was."""
    charged: bool = False
    """Whether it counts against runPolicy.maxRestarts."""
    reason: ConditionReason | None = None
    """Why it ended; absent while it lives."""
    exit_code: ExitCode | None = None
    """Exit code of the pod that decided, by the contract's table; absent while it lives, or where the evidence was lost."""
    index: RankIndex | None = None
    """Completion index of the pod that decided."""
    node: ObjectName | None = None
    """Name of the cluster's node which that pod ran on."""
    resume_step: Count | None = None
    """Optimizer steps that were done when it began; absent where it never reported."""
    micro_batch: Rows | None = None
    """Rows in one forward pass of one rank, where this attempt overrides what prepare chose."""
    starting_time: AwareDatetime | None = None
    """Since when a pod is missing of a gang that was wholly running: another was put in its place and has not started."""
    endings: Annotated[tuple[PodEnding, ...], Field(max_length=ENTRIES)] = ()
    """Failed pods seen so far, while the attempt lives; at most 64."""


class Progress(Contract):
    """How far training is, as the trainer last reported it. Advisory: the Jobs decide."""

    step: Count
    """Optimizer steps done."""
    total_steps: Count
    """Optimizer steps of the whole run."""
    percent: Annotated[int, Field(ge=0, le=100)]
    """Share of the steps done, in percent."""
    seconds_left: Seconds | None = None
    """Seconds until the last step at the present pace."""
    loss: Annotated[float, Field(ge=0)] | None = None
    """Training loss of the last step, in nats a loss token."""
    tokens_per_second: Annotated[float, Field(ge=0)] | None = None
    """Tokens trained on a second, over all ranks."""
    gpu_memory_peak: Quantity | None = None
    """Highest GPU memory allocated on any rank, such as 18.5Gi; absent without a GPU."""
    update_time: AwareDatetime
    """When the operator first heard of this step, by its own clock."""


class PreparedFacts(Contract):
    """What prepare chose and the operator needs to know."""

    micro_batch: Rows
    """Rows in one forward pass of one rank."""
    total_steps: Count
    """Optimizer steps of the whole run."""
    evaluate_on_gang: bool
    """True where the model does not fit one GPU and evaluate needs the whole gang."""


class Artifacts(Contract):
    """Where the run's results lie."""

    claim_name: ClaimName
    """PersistentVolumeClaim of the output volume."""
    folder: Folder
    """The run's folder, relative to the volume's root."""
    adapter: Folder | None = None
    """The adapter, relative to the folder; absent until it may be used, and under method Full."""
    model: Folder | None = None
    """Whole weights, relative to the folder, under method Full or where output.merge asks; absent until they may be used."""
    plan_sha256: Sha256
    """Hash of the plan that produced them."""


class FineTuneStatus(Contract):
    """What is seen of the run."""

    observed_generation: Count | None = None
    """Generation of the spec that this status speaks of."""
    requester: Annotated[str, Field(max_length=512)] | None = None
    """Who asked for the run, where an admission policy had proved it when the operator first saw the run."""
    phase: Phase | None = None
    """The run in one word, for people; programs read conditions."""
    stage: Stage | None = None
    """Stage at work; absent before the first and after the last."""
    start_time: AwareDatetime | None = None
    """When the first attempt was decided."""
    completion_time: AwareDatetime | None = None
    """When the run succeeded or failed for good."""
    active_seconds: Count = 0
    """Seconds of all attempts that have ended, for runPolicy.activeDeadlineSeconds; suspension and waiting do not count."""
    restarts: Count = 0
    """Attempts charged so far, over all stages."""
    delays: Count = 0
    """Times in a row that the present stage gave its GPUs back because the gang was not wholly running."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = ()
    """Accepted, Prepared, Trained, Evaluated, Succeeded, Failed; Suspended, Quarantined, Purged and Released where they apply."""
    attempts: Annotated[tuple[Attempt, ...], Field(max_length=ENTRIES)] = ()
    """Tries of the stages, oldest first; the newest 64, and the numbering goes on."""
    prepared: PreparedFacts | None = None
    """What prepare chose; absent until it is complete."""
    progress: Progress | None = None
    """How far training is."""
    results: Annotated[tuple[TaskResult, ...], Field(max_length=ENTRIES)] = ()
    """Accuracy by task and language, once evaluated."""
    artifacts: Artifacts | None = None
    """Where results lie."""
