"""A real Prometheus that scrapes, through the chart's own monitors, a real operator and a training run that goes on while it is scraped.

Three runs: `trains`, whose pod's address is where a real training of this process serves its figures, so that the operator asks it too; `ends`, which ran out
of memory once and was then evaluated; `waits`, for whose GPU no node has room.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster.control_plane import ControlPlane
from cluster.prometheus import Json, Prometheus, pod_target, scrape_of
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import Phase
from medfinetune_api.errors import Interrupted
from medfinetune_api.exits import Exit
from medfinetune_api.objects import METRICS_PORT
from medfinetune_trainer.stages.outcome import STOP
from medfinetune_trainer.telemetry.server import HOST, PORT, serving
from support.chart import NAMESPACE, only, render
from support.operated import Operated, operated, phase
from support.pod_player import SUCCEEDS, Act, Part, Script
from support.train import small_run, train_here

RUNS = ("trains", "ends", "waits")
SEEN = (
    'count_over_time(medfinetune_validation_loss{{run="trains", language="ko"}}[5m]) >= {scrapes}',
    'changes(medfinetune_step_seconds_count{{run="trains"}}[5m]) >= {scrapes} / 5',
    'count_over_time(medfinetune_run_tokens_per_second{{name="trains"}}[5m]) >= {scrapes}',
    "changes(medfinetune_operator_queue_seconds_count[5m]) >= {scrapes} / 5",
    'medfinetune_run_phase{{name="ends", phase="Succeeded"}}',
    'medfinetune_run_phase{{name="waits", reason="Unschedulable"}}',
)
"""What must have been scraped before anything is asked: each of the three runs, some times, and that the training and the operator moved meanwhile."""


@dataclass
class Scraped:
    """What there is to ask, and between which times it was scraped."""

    prometheus: Prometheus
    namespace: str
    start: float
    end: float


@contextmanager
def scraped(cluster: ControlPlane, folder: Path, past: str = "", scrapes: int = 10) -> Iterator[Scraped]:
    """The three runs, scraped so often while they were at work; nothing works any more. `past` lies in Prometheus already."""
    address, start = f"127.95.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}", time.time()
    with ExitStack() as stack:
        with operated(cluster, folder / "operated") as stage:
            _apply(stage, address)
            with training(folder / "volume", address):
                prometheus = stack.enter_context(Prometheus(folder / "prometheus", _scrapes(stage), past))
                for series in SEEN:
                    prometheus.wait_for(series.format(scrapes=scrapes))
                end = time.time()
        yield Scraped(prometheus, stage.home, start, end)


def _apply(stage: Operated, address: str) -> None:
    stage.apply("ends", _runs_out_of_memory_once)
    stage.apply("waits", _until_trained(Act(placed=False)), parallelism={"gpusPerNode": 1})
    stage.apply("trains", _until_trained(Act(address=address)))
    stage.wait("trains", "training", lambda status: status.attempts and status.attempts[-1].stage is Stage.TRAIN and status.attempts[-1].running_time)
    stage.wait("ends", "ended", phase(Phase.SUCCEEDED))


@contextmanager
def training(folder: Path, address: str) -> Iterator[None]:
    """A training of this process that serves its figures at `address` as a pod does, until the block ends; it is asked to stop then. Raises what it raised."""
    agent, plan = folder / "agent", small_run(folder / "output", epochs=200, every_steps=20)
    agent.mkdir()
    with pytest.MonkeyPatch.context() as environment, ThreadPoolExecutor(1, "training") as here:
        environment.setenv(HOST, address)
        environment.setenv(PORT, str(METRICS_PORT))
        with serving(agent, Stage.TRAIN.value) as port:
            assert port == METRICS_PORT, f"somebody else serves {address}"
            trained = here.submit(train_here, plan, agent)
            try:
                yield
            finally:
                (agent / STOP).touch()
            with suppress(Interrupted):
                trained.result()


def _scrapes(stage: Operated) -> list[Json]:
    """Of the pods that run, and of the operator, whose process stands for its pod."""
    chart = render({"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}})
    running = [pod for pod in stage.pods("trains").values() if pod["status"]["phase"] == "Running"]
    operator = {"targets": [f"127.0.0.1:{stage.operator.port}"], "labels": {"__meta_kubernetes_namespace": NAMESPACE}}
    return [scrape_of(only(chart, "PodMonitor"), [pod_target(pod, METRICS_PORT) for pod in running]), scrape_of(only(chart, "ServiceMonitor"), [operator])]


def _runs_out_of_memory_once(part: Part) -> Act:
    return Act(exit=Exit.OUT_OF_MEMORY) if (part.stage, part.attempt) == (Stage.TRAIN, 1) else SUCCEEDS


def _until_trained(act: Act) -> Script:
    return lambda part: act if part.stage is Stage.TRAIN else SUCCEEDS
