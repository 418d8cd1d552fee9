"""Metrics of the operator, in Prometheus' terms. What is known by object is computed from the cache at each scrape: its series go when the object goes."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator
from typing import Any

from medfinetune_api.conditions import Phase
from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from medfinetune_operator.cache import Cache
from medfinetune_operator.client import Api
from medfinetune_operator.workqueue import WorkQueue

PREFIX = "medfinetune_operator"
WAIT_SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)
BINARY = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
RESULTS = ("changed", "unchanged", "gone", "conflict", "refused", "error")


class Counters:
    """What is counted as it happens; `registry` is what /metrics shows."""

    def __init__(self) -> None:
        disable_created_metrics()
        self.registry = CollectorRegistry()
        self.reconciles = Counter(f"{PREFIX}_reconciles", "Looks at a run, by what came of them.", ["result"], registry=self.registry)
        self.attempts = Counter(f"{PREFIX}_attempts", "Attempts that ended, by stage and reason.", ["stage", "reason"], registry=self.registry)
        self.waits = Histogram(f"{PREFIX}_queue_seconds", "Time that a run waited to be looked at.", buckets=WAIT_SECONDS, registry=self.registry)
        for result in RESULTS:
            self.reconciles.labels(result)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)


class State:
    """What is computed at scrape: the queue, the requests, the runs."""

    def __init__(self, cache: Cache, queue: WorkQueue, api: Api, version: str) -> None:
        self._cache, self._queue, self._api, self._version = cache, queue, api, version

    def collect(self) -> Iterator[Metric]:
        """The series of now."""
        yield InfoMetricFamily(f"{PREFIX}_build", "Which operator this is.", {"version": self._version})
        yield GaugeMetricFamily(f"{PREFIX}_queue_depth", "Runs that wait to be looked at.", len(self._queue))
        requests = CounterMetricFamily(f"{PREFIX}_api_requests", "Requests to the API server, watches left out.", labels=["method", "status"])
        for labels, count in sorted(self._api.requests.items()):
            requests.add_metric(labels, count)
        yield requests
        statuses = [(body["metadata"], body.get("status") or {}) for body in self._cache.runs()]
        yield _by_phase([status for _, status in statuses])
        yield from _progress(statuses)


def _by_phase(statuses: list[dict[str, Any]]) -> Metric:
    phases = Tally(status.get("phase") or Phase.PENDING.value for status in statuses)
    family = GaugeMetricFamily(f"{PREFIX}_runs", "Runs by phase.", labels=["phase"])
    for phase in Phase:
        family.add_metric([phase.value], phases[phase.value])
    return family


FIGURES = {
    "step": ("medfinetune_run_step", "Optimizer steps done."),
    "totalSteps": ("medfinetune_run_steps_planned", "Optimizer steps of the whole run."),
    "percent": ("medfinetune_run_progress_percent", "Share of the steps done, in percent."),
    "secondsLeft": ("medfinetune_run_seconds_left", "Seconds until the last step at the present pace."),
    "loss": ("medfinetune_run_loss", "Training loss of the last step, in nats a loss token."),
    "tokensPerSecond": ("medfinetune_run_tokens_per_second", "Tokens trained on a second, over all ranks."),
    "gpuMemoryPeak": ("medfinetune_run_vram_peak_bytes", "Highest GPU memory allocated on any rank."),
}


def _progress(statuses: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[Metric]:
    for field, (name, meaning) in FIGURES.items():
        family = GaugeMetricFamily(name, meaning, labels=["namespace", "name"])
        for meta, status in statuses:
            if (figure := (status.get("progress") or {}).get(field)) is not None:
                family.add_metric([meta["namespace"], meta["name"]], _bytes(figure) if isinstance(figure, str) else figure)
        yield family


def _bytes(quantity: str) -> float:
    """A quantity of the status's own form, such as 18.5Gi, in bytes."""
    unit = quantity[-2:]
    return float(quantity[:-2]) * BINARY[unit] if unit in BINARY else float(quantity)
