"""What a run reports: StageResult (stdout's last line, termination message) and Prepared (a file on the volume)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from medfinetune_api.base import Contract
from medfinetune_api.choices import Sharding, Stage
from medfinetune_api.exits import EXITS, Exit
from medfinetune_api.scalars import ENTRIES, Count, ExitCode, Fraction, Label, LanguageTag, Message, Name, Reason, Rows, Sha256

RESUME_STEP, MICRO_BATCH = "resume_step", "micro_batch"
"""Names of numbers of train that an executor reads: the step it went on from, and the rows of a pass that it tried last."""
MAX_RESULT_BYTES = 4000
"""Kubernetes cuts a termination message at 4,096 bytes."""
NAME_LENGTH = FIGURES = 256
FigureName = Annotated[str, Field(max_length=NAME_LENGTH)]


class TaskResult(Contract):
    """Accuracy in one task, base and tuned on the same questions."""

    task: Name
    """Name of the task."""
    language: LanguageTag
    """Language of its questions."""
    seen: bool = False
    """Whether these questions are trained on."""
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
    beyond_noise: bool | None = None
    """Whether they differ by more than noise, by McNemar's exact test with Holm's correction over the tasks; absent without a baseline."""


class StageResult(Contract):
    """How one stage ended: at most MAX_RESULT_BYTES of JSON, on stdout's last line and in the termination message."""

    stage: Stage
    """Which stage ended."""
    exit_code: ExitCode
    """Its exit code, by the contract's table."""
    reason: Reason
    """CamelCase, from the exit table."""
    message: Message
    """One sentence for a person; no record text."""
    numbers: Annotated[Mapping[FigureName, float], Field(max_length=FIGURES)]
    """Measured figures, by snake_case name with unit."""
    tasks: Annotated[tuple[TaskResult, ...], Field(max_length=ENTRIES)] = ()
    """Accuracy by task, of evaluate; the first ones where not all fit (`evaluation/summary.json` has all)."""

    @classmethod
    def of(cls, stage: Stage, code: Exit, message: str, numbers: Mapping[str, float] | None = None, tasks: Sequence[TaskResult] = ()) -> StageResult:
        """Build a result whose JSON fits the termination message.

        The message is cut to 1,000 characters, then tasks are left out from the end, then numbers, then the message is cut on (its JSON may be longer than its
        text). Numbers that are not finite, which JSON cannot write, or whose name is too long are left out.
        """
        fitting = {name: value for name, value in (numbers or {}).items() if math.isfinite(value) and len(name) <= NAME_LENGTH}
        kept = dict(list(fitting.items())[:FIGURES])
        result = cls(stage=stage, exit_code=code, reason=EXITS[code].reason, message=message[:1000], numbers=kept, tasks=tuple(tasks[:ENTRIES]))
        while len(result.to_json().encode()) > MAX_RESULT_BYTES:
            if result.tasks:
                result = result.model_copy(update={"tasks": result.tasks[:-1]})
                continue
            if kept:
                kept.popitem()
            result = result.model_copy(update={"numbers": dict(kept), "message": result.message if kept else result.message[: len(result.message) * 3 // 4]})
        return result


class SourceShare(Contract):
    """One row of the mixture table."""

    name: Name
    """Name of the source."""
    language: LanguageTag
    """BCP 47 language tag."""
    domain: Label
    """Domain of the source."""
    samples_read: Count
    """Records in the file."""
    validation: Count
    """Records held out."""
    over_long: Count
    """Records longer than maxLength: dropped or truncated, by the plan's policy."""
    tokens_dropped: Count
    """Tokens lost to the over-long policy."""
    mixed_out: Count
    """Records that downsampling left out."""
    decontaminated: Count = 0
    """Records left out because an evaluation asks what they answer."""
    samples: Count
    """Records an epoch trains on; repeats count each time."""
    tokens: Count
    """Tokens of these records."""
    share: Fraction
    """Share of the epoch in the mixture's unit (samples where no mixture is set), 0 to 1."""


class PackingReport(Contract):
    """What packing gained, as the study defines it (Yoo et al. 2026, section on data preparation)."""

    efficiency: Fraction
    """PackingEfficiency: sum of token counts over all samples / (rows x maxLength), 0 to 1."""
    efficiency_unpacked: Fraction
    """The same with one sample a row."""
    rows: Count
    """Packed rows an epoch."""
    rows_unpacked: Count
    """Rows an epoch with one sample a row."""
    steps_per_epoch: Count
    """Optimizer steps an epoch."""
    steps_per_epoch_unpacked: Count
    """Optimizer steps an epoch with one sample a row."""


class Chosen(Contract):
    """What the plan left to prepare."""

    sharding: Sharding
    """How parameters are spread over the ranks; never Auto."""
    micro_batch: Rows
    """Rows in one forward pass of one rank."""
    activation_checkpointing: bool
    """Whether activations are computed again instead of kept."""
    evaluate_on_gang: bool
    """Whether evaluate needs the whole gang, because the model does not fit one GPU."""


class MemoryEstimate(Contract):
    """What one rank's accelerator holds at the peak of a training step, in bytes, as prepare computes it from config.json."""

    base: Count
    """Frozen weights: this rank's share, and where they are sharded the largest group that is gathered."""
    quantization: Count
    """Constants of double quantization, which every rank holds whole."""
    trained: Count
    """fp32 masters of what is trained."""
    gradients: Count
    """Their gradients, fp32."""
    optimizer: Count
    """Optimizer states."""
    activations: Count
    """What the forward pass keeps for the backward pass."""
    logits: Count
    """Logits of the loss tokens, in fp32 and with their gradient."""
    buffers: Count
    """What is there for a moment: a dequantised weight, a gathered layer, communication."""
    total: Count
    """Sum of the above."""
    limit: Count | None = None
    """gpuMemory less its headroom; absent where the manifest names no gpuMemory."""


class Prepared(Contract):
    """`prepared.json`: what prepare measured and chose. Written last, so that its presence means prepare is complete."""

    plan_sha256: Sha256
    """Hash of the plan it belongs to."""
    sources: Annotated[tuple[SourceShare, ...], Field(max_length=2 * ENTRIES)]
    """The mixture table, one row a source."""
    packing: PackingReport
    """What packing gained."""
    chosen: Chosen
    """What the plan left to prepare."""
    memory: MemoryEstimate | None = None
    """What it takes on one rank's accelerator."""
    train_documents: Count
    """Tokenised documents in `data/train`."""
    validation_documents: Count
    """Tokenised documents in `data/validation`."""
    validation_rows: Count
    """Packed rows of the validation documents."""
    total_steps: Count
    """Optimizer steps of all epochs."""
    loss_token_share: Fraction
    """Share of an epoch's tokens that carry loss, 0 to 1."""
    weights_sha256: Sha256
    """Hash of the base's weights, as `spec.model.sha256` has it; train and evaluate refuse any other."""
    tasks_sha256: Annotated[Mapping[Name, Sha256], Field(max_length=ENTRIES)]
    """Hash of each task's file, by the task's name; evaluate refuses any other, because what was compared with the training records was this one."""
    initial_adapter_sha256: Sha256 | None = None
    """Hash of the weights file that training starts from; train refuses any other. Absent where it starts with a new adapter."""
