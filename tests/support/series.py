"""Every series that trainer and operator export: told by their own collectors, which are given a figure of every kind."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kopf import ConnectionInfo
from medfinetune_operator.cache import Cache
from medfinetune_operator.client import Api
from medfinetune_operator.kinds import Kind
from medfinetune_operator.metrics import Counters, State
from medfinetune_operator.workqueue import WorkQueue
from medfinetune_trainer.telemetry.metrics import MEMORY, GangCollector
from medfinetune_trainer.telemetry.snapshot import Snapshot
from prometheus_client.core import Metric

TIME = "2026-01-01T00:00:00Z"
PROGRESS = {"step": 1, "totalSteps": 2, "percent": 50, "secondsLeft": 1.0, "loss": 1.0, "tokensPerSecond": 1.0, "gpuMemoryPeak": "1.0Gi", "updateTime": TIME}
STATUS: dict[str, Any] = {
    "phase": "Failed",
    "completionTime": TIME,
    "restarts": 1,
    "attempts": [{"stage": "train", "number": 1, "reason": "OutOfMemory"}],
    "conditions": [{"type": "Purged", "status": "True", "reason": "Succeeded"}],
    "artifacts": {"claimName": "results"},
    "progress": PROGRESS,
    "results": [{"task": "medqa", "language": "en", "accuracy": 1.0}],
}
_NO_SESSION: Any = None
SUFFIX = {"counter": "_total", "info": "_info"}


@dataclass(frozen=True)
class Series:
    """One series: `name` as rules and panels ask for it; of a histogram, what stands before _bucket, _sum and _count."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def asked(self) -> set[str]:
        """Every name that it can be asked by."""
        return {f"{self.name}_{part}" for part in ("bucket", "sum", "count")} if self.type == "histogram" else {self.name}

    @property
    def row(self) -> str:
        """Its row in docs/metrics.md."""
        return f"| `{self.name}` | {self.type} | {', '.join(self.labels)} | {self.meaning} |"


def of_trainer() -> list[Series]:
    """Those of a run's pod, while it trains."""
    validation = {"en": {"loss": 1.0, "perplexity": 1.0, "accuracy": 1.0}}
    full = Snapshot(0, 1, 2, 1.0, validation=validation, memory=dict.fromkeys(MEMORY, 1), volume={"size": 1, "free": 1}, safe_since=1.0)
    full.loss = full.learning_rate = full.gradient_norm = full.tokens_per_second = full.seconds_left = 1.0
    full.micro_batch = 1
    with tempfile.TemporaryDirectory() as name:
        full.write(Path(name))
        return [*_told(GangCollector(Path(name)).collect())]


def of_operator() -> list[Series]:
    """Those of the operator, its process' own among them."""
    cache, counters = Cache(), Counters()
    metadata = {"namespace": "clinic", "name": "run", "resourceVersion": "1"}
    cache.put(Kind.RUN, {"metadata": metadata, "spec": {}, "status": STATUS})
    counters.attempts.labels("train", "OutOfMemory")
    api = Api(_NO_SESSION, ConnectionInfo(server="http://127.0.0.1"))
    api.requests["GET", "200"] += 1
    counters.registry.register(State(cache, WorkQueue(), api, "1", lambda: True))
    return [*_told(counters.registry.collect())]


def _told(families: Iterator[Metric]) -> Iterator[Series]:
    for family in families:
        labels = {label: None for sample in family.samples for label in sample.labels if label != "le"}
        yield Series(family.name + SUFFIX.get(family.type, ""), family.type, tuple(labels), family.documentation)


if __name__ == "__main__":
    sys.stdout.writelines(f"{each.row}\n" for each in (*of_trainer(), *of_operator()))
