"""What a run reports: StageResult (stdout's last line, termination message), Prepared and EvaluationSummary (files on the volume)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from medfinetune_api.base import Contract
from medfinetune_api.choices import Sharding, Stage
from medfinetune_api.exits import EXITS, Exit

MAX_RESULT_BYTES = 4000
"""Kubernetes cuts a termination message at 4,096 bytes."""


class StageResult(Contract):
    """How one stage ended: at most MAX_RESULT_BYTES of JSON, on stdout's last line and in the termination message."""

    stage: Stage
    """Which stage ended."""
    exit_code: int
    """Its exit code, by the contract's table."""
    reason: str
    """CamelCase, from the exit table."""
    message: str
    """One sentence for a person; no record text."""
    numbers: Mapping[str, float]
    """Measured figures, by snake_case name with unit."""

    @classmethod
    def of(cls, stage: Stage, code: Exit, message: str, numbers: Mapping[str, float] | None = None) -> StageResult:
        """Build a result whose JSON fits the termination message.

        The message is cut to 1,000 characters, then numbers are left out from the end, then the message is cut on (its JSON may be longer than its text).
        Numbers that are not finite, which JSON cannot write, are left out.
        """
        kept = {name: value for name, value in (numbers or {}).items() if math.isfinite(value)}
        result = cls(stage=stage, exit_code=code, reason=EXITS[code].reason, message=message[:1000], numbers=kept)
        while len(result.to_json().encode()) > MAX_RESULT_BYTES:
            if kept:
                kept.popitem()
            result = result.model_copy(update={"numbers": dict(kept), "message": result.message if kept else result.message[: len(result.message) * 3 // 4]})
        return result


class SourceShare(Contract):
    """One row of the mixture table."""

    name: str
    """Name of the source."""
    language: str
    """BCP 47 language tag."""
    domain: str
    """Domain of the source."""
    samples_read: int
    """Records in the file."""
    validation: int
    """Records held out."""
    over_long: int
    """Records longer than maxLength: dropped or truncated, by the plan's policy."""
    tokens_dropped: int
    """Tokens lost to the over-long policy."""
    mixed_out: int
    """Records that downsampling left out."""
    samples: int
    """Records an epoch trains on; repeats count each time."""
    tokens: int
    """Tokens of these records."""
    share: float
    """Share of the epoch in the mixture's unit (samples where no mixture is set), 0 to 1."""


class PackingReport(Contract):
    """What packing gained, as the study defines it (Yoo et al. 2026, section on data preparation)."""

    efficiency: float
    """PackingEfficiency: sum of token counts over all samples / (rows x maxLength), 0 to 1."""
    efficiency_unpacked: float
    """The same with one sample a row."""
    rows: int
    """Packed rows an epoch."""
    rows_unpacked: int
    """Rows an epoch with one sample a row."""
    steps_per_epoch: int
    """Optimizer steps an epoch."""
    steps_per_epoch_unpacked: int
    """Optimizer steps an epoch with one sample a row."""


class Chosen(Contract):
    """What the plan left to prepare."""

    sharding: Sharding
    """How parameters are spread over the ranks; never Auto."""
    micro_batch: int
    """Rows in one forward pass of one rank."""
    activation_checkpointing: bool
    """Whether activations are computed again instead of kept."""


class Prepared(Contract):
    """`prepared.json`: what prepare measured and chose. Written last, so that its presence means prepare is complete."""

    plan_sha256: str
    """Hash of the plan it belongs to."""
    sources: tuple[SourceShare, ...]
    """The mixture table, one row a source."""
    packing: PackingReport
    """What packing gained."""
    chosen: Chosen
    """What the plan left to prepare."""
    train_documents: int
    """Tokenised documents in `data/train`."""
    validation_documents: int
    """Tokenised documents in `data/validation`."""
    validation_rows: int
    """Packed rows of the validation documents."""
    total_steps: int
    """Optimizer steps of all epochs."""
    loss_token_share: float
    """Share of an epoch's tokens that carry loss, 0 to 1."""


class Score(Contract):
    """Accuracy over n questions with a Wilson 95 % interval."""

    n: int
    """Questions asked."""
    accuracy: float
    """Share answered rightly, 0 to 1."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""


class TaskScores(Contract):
    """One task, base and tuned on the same questions."""

    task: str
    """Name of the task."""
    language: str
    """BCP 47 language tag."""
    version: str
    """Task version, as lm-evaluation-harness records it."""
    questions: int
    """Questions asked."""
    available: int
    """Questions in the file."""
    base: Score | None = None
    """Of the untuned base; None without a baseline."""
    tuned: Score
    """Of the tuned model."""
    base_by_subject: Mapping[str, Score]
    """Of the untuned base, by subject; empty without a baseline."""
    tuned_by_subject: Mapping[str, Score]
    """Of the tuned model, by subject."""


class EvaluationSummary(Contract):
    """`evaluation/summary.json`. Written last, so that its presence means evaluate is complete."""

    plan_sha256: str
    """Hash of the plan it belongs to."""
    tasks: tuple[TaskScores, ...]
    """One entry a task, in the plan's order."""
    base_by_language: Mapping[str, Score]
    """Of the untuned base over all tasks of a language; empty without a baseline."""
    tuned_by_language: Mapping[str, Score]
    """Of the tuned model over all tasks of a language."""
