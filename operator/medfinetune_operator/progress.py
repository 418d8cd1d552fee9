"""Progress of training, from what the gang reports: shown to people, and the one evidence of a stall. Advisory: the Jobs decide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime

from medfinetune_api.choices import Stage
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import StageResult
from medfinetune_api.status import Attempt, Progress
from pydantic import ValidationError

from medfinetune_operator.attempts import open_attempts
from medfinetune_operator.draft import Draft
from medfinetune_operator.observation import RankStep, Report

GIBIBYTE = 1 << 30


def follow_progress(draft: Draft) -> None:
    """Write down a step that is new. Within an attempt steps only grow; another attempt goes on from a checkpoint, which may lie before the last step seen."""
    report = newest(draft.seen.reports)
    attempt = next((each for each in open_attempts(draft.status) if each.stage is Stage.TRAIN and not each.stopping), None)
    if attempt is None or report is None:
        return
    before, progress = draft.status.progress, _progress(report, draft.seen.reports, draft.stamp)
    if progress and attempt.resume_step is None and report.resume_step is not None and 0 <= report.resume_step <= report.step:
        attempt = draft.replace_attempt(attempt, resume_step=report.resume_step)
    if progress and (before is None or (progress.step > before.step if _is_of(before, attempt) else progress.step != before.step)):
        draft.update(progress=progress)


def complete_progress(draft: Draft, result: StageResult | None) -> None:
    """Training is complete: its last step, and the loss that the gang ended with. Nothing where no step was ever seen."""
    before, prepared, numbers = draft.status.progress, draft.status.prepared, result.numbers if result else {}
    planned = before.total_steps if before else prepared.total_steps if prepared else 0
    if planned:
        loss, steps = _measure(numbers.get("loss")), _last_step(numbers, planned)
        end = {"step": steps, "total_steps": steps, "percent": 100, "seconds_left": 0.0, "update_time": draft.stamp}
        fields = end | {"loss": loss if loss is not None else before and before.loss}
        draft.update(progress=before.model_copy(update=fields) if before else Progress.model_validate(fields))


def newest(reports: tuple[Report, ...]) -> Report | None:
    """The report that is furthest; of the lowest pod, where several are."""
    return max(reports, key=lambda report: (report.step, -report.index), default=None)


def still_since(draft: Draft, attempt: Attempt) -> datetime | None:
    """Since when the gang has stood at the step that it reports now; None without evidence: no report, or not all its pods run."""
    progress, report = draft.status.progress, newest(draft.seen.reports)
    if attempt.running_time is None or progress is None or report is None or report.step != progress.step:
        return None
    return max(attempt.running_time, progress.update_time)


def slowest(draft: Draft) -> RankStep | None:
    """The rank that is furthest behind, by its own report; the one that was so first, among equals."""
    ranks = [rank for report in draft.seen.reports for rank in report.ranks]
    return min(ranks, key=lambda rank: (rank.step, rank.as_of or draft.now, rank.rank), default=None)


def pod_of_rank(draft: Draft, rank: int) -> int:
    """Completion index of the pod that a rank runs in."""
    return rank // draft.run.plan.parallelism.processes_per_node if isinstance(draft.run.plan, RunPlan) else rank


def _last_step(numbers: Mapping[str, float], planned: int) -> int:
    """The last of the planned steps; a run that stopped early has fewer, and has done them all."""
    return int(min(planned, max(1.0, numbers.get("steps", planned)))) if numbers.get("stopped_early") else planned


def _is_of(progress: Progress, attempt: Attempt) -> bool:
    """Whether the progress was measured in this attempt."""
    return attempt.running_time is not None and progress.update_time >= attempt.running_time


def _progress(report: Report, reports: tuple[Report, ...], now: datetime) -> Progress | None:
    """By the operator's clock: the stall timeout counts from here, and nodes' clocks differ. None for a report that makes no sense."""
    peaks = [peak for each in reports if (peak := _measure(each.peak_vram_bytes))]
    try:
        return Progress(
            step=report.step,
            total_steps=report.total_steps,
            percent=min(100, 100 * report.step // report.total_steps) if report.total_steps > 0 else 0,
            seconds_left=_measure(report.seconds_left),
            loss=_measure(report.loss),
            tokens_per_second=_measure(report.tokens_per_second),
            gpu_memory_peak=f"{max(peaks) / GIBIBYTE:.1f}Gi" if peaks else None,
            update_time=now,
        )
    except ValidationError:
        return None


def _measure(value: float | None) -> float | None:
    """A figure that is one: not negative, not infinite, not NaN. To four places: people read it, and `kubectl get` prints every digit."""
    return round(value, 4) if value is not None and math.isfinite(value) and value >= 0 else None
