"""Metrics of the operator, in Prometheus' terms: what is counted as it happens, and what is of now. Series of runs: `run_metrics.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from medfinetune_operator.cache import Cache
from medfinetune_operator.client import Api
from medfinetune_operator.run_metrics import series_of
from medfinetune_operator.workqueue import WorkQueue

PREFIX = "medfinetune_operator"
WAIT_SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)
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

    def __init__(self, cache: Cache, queue: WorkQueue, api: Api, version: str, leads: Callable[[], bool]) -> None:
        self._cache, self._queue, self._api, self._version, self._leads = cache, queue, api, version, leads

    def collect(self) -> Iterator[Metric]:
        """The series of now."""
        yield InfoMetricFamily(f"{PREFIX}_build", "Which operator this is.", {"version": self._version})
        yield GaugeMetricFamily(f"{PREFIX}_leader", "1 where this operator holds the Lease and has listed everything, 0 where it waits.", float(self._leads()))
        yield GaugeMetricFamily(f"{PREFIX}_queue_depth", "Runs that wait to be looked at.", len(self._queue))
        requests = CounterMetricFamily(f"{PREFIX}_api_requests", "Requests to the API server, watches left out.", labels=["method", "status"])
        for labels, count in sorted(self._api.requests.items()):
            requests.add_metric(labels, count)
        yield requests
        yield from series_of(self._cache.runs())
