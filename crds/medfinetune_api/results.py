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
    exit_code: int
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
    language: str
    domain: str
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
    share: float
    """Share of the epoch in the mixture's unit (samples where no mixture is set), 0 to 1."""


class PackingReport(Contract):
    """What packing gained, as the study defines it (Yoo et al. 2026, section on data preparation)."""

    efficiency: float
    """PackingEfficiency: sum of token counts over all samples / (rows x maxLength), 0 to 1."""
    efficiency_unpacked: float
    """The same with one sample a row."""
    rows: int
    rows_unpacked: int
    steps_per_epoch: int
    steps_per_epoch_unpacked: int


class Chosen(Contract):
    """What the plan left to prepare."""

    sharding: Sharding
    micro_batch: int
    """Rows in one forward pass of one rank."""
    activation_checkpointing: bool


class Prepared(Contract):
    """`prepared.json`: what prepare measured and chose. Written last, so that its presence means prepare is complete."""

    plan_sha256: str
    sources: tuple[SourceShare, ...]
    packing: PackingReport
    chosen: Chosen
    train_documents: int
    validation_documents: int
    validation_rows: int
    total_steps: int
    loss_token_share: float
    """Share of an epoch's tokens that carry loss, 0 to 1."""


class Score(Contract):
    """Accuracy over n questions with a Wilson 95 % interval."""

    n: int
    accuracy: float
    low: float
    high: float


class TaskScores(Contract):
    """One task, base and tuned on the same questions."""

    task: str
    language: str
    version: str
    """Task version, as lm-evaluation-harness records it."""
    questions: int
    """Questions asked."""
    available: int
    """Questions in the file."""
    base: Score | None = None
    tuned: Score
    base_by_subject: Mapping[str, Score]
    tuned_by_subject: Mapping[str, Score]


class EvaluationSummary(Contract):
    """`evaluation/summary.json`. Written last, so that its presence means evaluate is complete."""

    plan_sha256: str
    tasks: tuple[TaskScores, ...]
    base_by_language: Mapping[str, Score]
    tuned_by_language: Mapping[str, Score]
