"""Series of runs, computed from the cache at each scrape: they go when the object goes. Names, numbers and reasons, never text of a status."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason, ConditionType, Phase
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric

from medfinetune_operator.conditions import STAGE_CONDITION

Json = dict[str, Any]
OBJECT = ["namespace", "name"]
BINARY = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
OUTRANKING = (ConditionType.FAILED, ConditionType.SUCCEEDED, ConditionType.SUSPENDED)
"""Conditions that, where true, say why the run is in its phase; else that of the stage at work does."""
AT_WORK: Mapping[str, ConditionType] = {stage.value: kind for stage, kind in STAGE_CONDITION.items()}

FIGURES = {
    "step": ("medfinetune_run_step", "Optimizer steps done."),
    "totalSteps": ("medfinetune_run_steps_planned", "Optimizer steps of the whole run."),
    "percent": ("medfinetune_run_progress_percent", "Share of the steps done, in percent."),
    "secondsLeft": ("medfinetune_run_seconds_left", "Seconds until the last step at the present pace."),
    "loss": ("medfinetune_run_loss", "Training loss of the last step, in nats a loss token."),
    "tokensPerSecond": ("medfinetune_run_tokens_per_second", "Tokens trained on a second, over all ranks."),
    "gpuMemoryPeak": ("medfinetune_run_vram_peak_bytes", "Highest GPU memory allocated on any rank."),
}


def series_of(runs: Iterable[Json]) -> Iterator[Metric]:
    """Every series of the runs, given as the API server has them."""
    bodies = [*runs]
    known = [(body["metadata"], body.get("status") or {}) for body in bodies]
    yield _by_phase([status for _, status in known])
    yield _phases(known)
    yield _failed_attempts(known)
    yield _outputs(known)
    yield _accuracies(known)
    yield _gpus(bodies)
    yield _gauge(known, "medfinetune_run_restarts", "Attempts that were charged against runPolicy.maxRestarts.", lambda status: status.get("restarts"))
    yield _gauge(known, "medfinetune_run_completion_timestamp_seconds", "When the run ended for good, in seconds since 1970.", _completion)
    yield _gauge(known, "medfinetune_run_purge_failed", "1 where the purge was given up: record text may still lie on the output volume.", _purge_failed)
    for field, (name, meaning) in FIGURES.items():
        yield _gauge(known, name, meaning, _progress(field))


def _by_phase(statuses: list[Json]) -> Metric:
    phases = Tally(_phase(status) for status in statuses)
    family = GaugeMetricFamily("medfinetune_operator_runs", "Runs by phase.", labels=["phase"])
    for phase in Phase:
        family.add_metric([phase.value], phases[phase.value])
    return family


def _phases(known: list[tuple[Json, Json]]) -> Metric:
    meaning = "1 for the phase that the run is in, with the reason of the condition that says why."
    family = GaugeMetricFamily("medfinetune_run_phase", meaning, labels=[*OBJECT, "phase", "reason"])
    for meta, status in known:
        family.add_metric([meta["namespace"], meta["name"], _phase(status), _reason(status)], 1)
    return family


def _failed_attempts(known: list[tuple[Json, Json]]) -> Metric:
    """One that succeeded, or was stopped by the run's owner, is no failure."""
    meaning = "Attempts of the run that ended without success, by stage and reason, among the newest 64."
    family = GaugeMetricFamily("medfinetune_run_failed_attempts", meaning, labels=[*OBJECT, "stage", "reason"])
    for meta, status in known:
        ends = Tally((each["stage"], each["reason"]) for each in status.get("attempts") or () if each.get("reason"))
        for (stage, reason), count in sorted(ends.items()):
            if reason not in (ConditionReason.SUCCEEDED, ConditionReason.SUSPENDED):
                family.add_metric([meta["namespace"], meta["name"], stage, reason], count)
    return family


def _outputs(known: list[tuple[Json, Json]]) -> Metric:
    meaning = "The claim of the run's output volume, under the label that the kubelet's series of volumes have."
    family = InfoMetricFamily("medfinetune_run_output", meaning, labels=OBJECT)
    for meta, status in known:
        if claim := (status.get("artifacts") or {}).get("claimName"):
            family.add_metric([meta["namespace"], meta["name"]], {"persistentvolumeclaim": claim})
    return family


def _accuracies(known: list[tuple[Json, Json]]) -> Metric:
    meaning = "Share of a task's questions answered rightly, 0 to 1, by the tuned model and by its base."
    family = GaugeMetricFamily("medfinetune_run_accuracy_ratio", meaning, labels=[*OBJECT, "task", "language", "model"])
    for meta, status in known:
        for result in status.get("results") or ():
            for model, field in (("tuned", "accuracy"), ("base", "baseAccuracy")):
                if (share := result.get(field)) is not None:
                    family.add_metric([meta["namespace"], meta["name"], result["task"], result["language"], model], share)
    return family


def _gpus(bodies: list[Json]) -> Metric:
    family = GaugeMetricFamily("medfinetune_run_gpus", "GPUs that the run's live attempts ask for, over all their pods.", labels=OBJECT)
    for body in bodies:
        live = [each["stage"] for each in (body.get("status") or {}).get("attempts") or () if not each.get("endTime")]
        family.add_metric([body["metadata"]["namespace"], body["metadata"]["name"]], sum(_gpus_of(body, stage) for stage in live))
    return family


def _gpus_of(body: Json, stage: str) -> int:
    """As `resources.stages` asks for them; this reads what the API server has, for a scrape must not read a thousand specs anew."""
    gang = (body.get("spec") or {}).get("parallelism") or {}
    nodes, per_node = int(gang.get("nodes", 1)), int(gang.get("gpusPerNode", 1))
    if stage == Stage.TRAIN or (stage == Stage.EVALUATE and (body["status"].get("prepared") or {}).get("evaluateOnGang")):
        return nodes * per_node
    return min(1, per_node) if stage == Stage.EVALUATE else 0


def _gauge(known: list[tuple[Json, Json]], name: str, meaning: str, figure: Callable[[Json], float | None]) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=OBJECT)
    for meta, status in known:
        if (value := figure(status)) is not None:
            family.add_metric([meta["namespace"], meta["name"]], value)
    return family


def _phase(status: Json) -> str:
    return str(status.get("phase") or Phase.PENDING.value)


def _reason(status: Json) -> str:
    """Why the run is in its phase; empty before the operator has seen it."""
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    deciding = next((kind for kind in OUTRANKING if (conditions.get(kind) or {}).get("status") == "True"), None)
    kind = deciding or AT_WORK.get(status.get("stage") or "", ConditionType.ACCEPTED)
    return str((conditions.get(kind) or {}).get("reason", ""))


def _completion(status: Json) -> float | None:
    ended = status.get("completionTime")
    return datetime.fromisoformat(ended).timestamp() if ended else None


def _purge_failed(status: Json) -> float | None:
    purged = next((each for each in status.get("conditions") or () if each["type"] == ConditionType.PURGED), None)
    return float(purged["reason"] == ConditionReason.PURGE_FAILED) if purged else None


def _progress(field: str) -> Callable[[Json], float | None]:
    return lambda status: _number((status.get("progress") or {}).get(field))


def _number(figure: float | str | None) -> float | None:
    """A figure of progress; a quantity of the status's own form, such as 18.5Gi, in bytes."""
    if not isinstance(figure, str):
        return figure
    unit = figure[-2:]
    return float(figure[:-2]) * BINARY[unit] if unit in BINARY else float(figure)
