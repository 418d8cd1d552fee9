"""The operator's metrics, as Prometheus reads them: what is counted, what is of now, and what goes with its object."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path
from uuid import UUID

from cluster.control_plane import ControlPlane
from cluster.processes import wait_until
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import Phase
from medfinetune_api.exits import Exit
from medfinetune_operator.resources.stages import gpus_of
from medfinetune_operator.run import read_run
from medfinetune_operator.run_metrics import series_of
from prometheus_client.parser import text_string_to_metric_families
from support.api import RUNS
from support.manifests import minimal_manifest
from support.operated import Operated, operated, phase
from support.operator_process import OperatorProcess
from support.pod_player import SUCCEEDS, Act, Part

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(operator: OperatorProcess) -> Series:
    """Every sample by name and labels; text that Prometheus cannot read raises ValueError."""
    status, text = operator.asked("/metrics")
    assert status == 200
    return {(sample.name, frozenset(sample.labels.items())): sample.value for family in text_string_to_metric_families(text) for sample in family.samples}


def value(operator: OperatorProcess, name: str, /, **labels: str) -> float | None:
    return scraped(operator).get((name, frozenset(labels.items())))


def of_run(stage: Operated, name: str) -> dict[str, float]:
    """The series that name a run, by name alone: none has two for one run here."""
    return {series: number for (series, labels), number in scraped(stage.operator).items() if ("name", name) in labels and ("namespace", stage.home) in labels}


def counted(operator: OperatorProcess) -> Counter[tuple[str, str]]:
    """Attempts that ended, by stage and reason, of every namespace: the tests before this one may have left runs in namespaces that are going."""
    series = [(dict(labels), number) for (name, labels), number in scraped(operator).items() if name == "medfinetune_operator_attempts_total"]
    return Counter({(labels["stage"], labels["reason"]): int(number) for labels, number in series})


def told(operator: OperatorProcess, namespace: str | None = None) -> Counter[tuple[str, str]]:
    """The same by the operator's log, of one namespace or all."""
    ends = [line for line in operator.log() if line["event"] == "attempt ended" and namespace in (None, line["namespace"])]
    return Counter((line["stage"], line["reason"]) for line in ends)


def waits_and_looks(operator: OperatorProcess) -> tuple[float, float]:
    """How often a run was taken from the queue, and how often it was looked at, at one moment."""
    series = scraped(operator)
    looks = sum(number for (name, _), number in series.items() if name == "medfinetune_operator_reconciles_total")
    return series["medfinetune_operator_queue_seconds_count", frozenset()], looks


def succeeded(stage: Operated) -> int:
    """Runs in that phase, of every namespace."""
    return sum((run.get("status") or {}).get("phase") == Phase.SUCCEEDED for run in stage.api.items(f"{RUNS}/medfinetunes"))


def fails_once(part: Part) -> Act:
    return Act(exit=Exit.OUT_OF_MEMORY) if (part.stage, part.attempt) == (Stage.TRAIN, 1) else SUCCEEDS


def test_the_operators_metrics(control_plane: ControlPlane, tmp_path: Path) -> None:
    with operated(control_plane, tmp_path) as stage:
        for name in ("stays", "goes"):
            stage.apply(name, fails_once)
        for name in ("stays", "goes"):
            stage.wait(name, "purged", lambda status: status.phase == Phase.SUCCEEDED and len(status.attempts) == 5 and status.attempts[-1].end_time)
        operator = stage.operator
        ours = Counter({(stage, "Succeeded"): 2 for stage in ("prepare", "train", "evaluate", "purge")} | {("train", "OutOfMemory"): 2})
        wait_until("the ends to be told", lambda: told(operator, stage.home) == ours, evidence=lambda: str(told(operator)))
        wait_until("the ends to be counted", lambda: counted(operator) == told(operator), evidence=lambda: f"{counted(operator)}\n{told(operator)}")
        assert value(operator, "medfinetune_operator_reconciles_total", result="error") == 0
        wait_until("every look to have waited", lambda: len(set(waits_and_looks(operator))) == 1)
        assert (value(operator, "medfinetune_operator_api_requests_total", method="PUT", status="200") or 0) > 0
        ends = "medfinetune_run_completion_timestamp_seconds"
        assert of_run(stage, "stays") | {ends: 0} == of_run(stage, "goes") | {ends: 0}
        assert {"medfinetune_run_step": 100.0, "medfinetune_run_progress_percent": 100.0, "medfinetune_run_loss": 0.25}.items() <= of_run(stage, "goes").items()
        assert {"medfinetune_run_restarts": 1.0, "medfinetune_run_purge_failed": 0.0}.items() <= of_run(stage, "goes").items()
        assert value(operator, "medfinetune_operator_leader") == 1
        this = {"namespace": stage.home, "name": "goes"}
        assert value(operator, "medfinetune_run_phase", **this, phase="Succeeded", reason="Succeeded") == 1
        assert value(operator, "medfinetune_run_failed_attempts", **this, stage="train", reason="OutOfMemory") == 1
        assert value(operator, "medfinetune_run_output_info", **this, persistentvolumeclaim="results") == 1
        shares = {model: value(operator, "medfinetune_run_accuracy_ratio", **this, task="medqa", language="en", model=model) for model in ("tuned", "base")}
        assert shares == {"tuned": 0.7, "base": 0.5}
        assert value(operator, "medfinetune_run_gpus", **this) == 0
        ended = stage.status("goes").completion_time
        assert ended
        assert value(operator, "medfinetune_run_completion_timestamp_seconds", **this) == ended.timestamp()
        wait_until("the runs to be counted", lambda: value(operator, "medfinetune_operator_runs", phase="Succeeded") == succeeded(stage))
        stage.delete("goes")
        wait_until("its series to go", lambda: of_run(stage, "goes") == {})
        assert of_run(stage, "stays")
        wait_until("one less to be counted", lambda: value(operator, "medfinetune_operator_runs", phase="Succeeded") == succeeded(stage))
        assert not [name for (name, labels) in scraped(operator) if name.startswith("medfinetune_operator") and dict(labels).keys() & {"name", "namespace"}]


def test_gpus_are_counted_as_the_pods_ask_for_them() -> None:
    for gang, prepared in product(({}, {"nodes": 3, "gpusPerNode": 2}, {"gpusPerNode": 0}), (None, {"microBatch": 1, "totalSteps": 9, "evaluateOnGang": True})):
        manifest = minimal_manifest(parallelism=gang)
        manifest["metadata"] |= {
            "namespace": "clinic",
            "uid": str(UUID(int=1)),
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        run = read_run(manifest | {"status": {"prepared": prepared} if prepared else {}}, None)
        for stage in Stage:
            live = [{"stage": stage.value, "number": 2}, {"stage": "train", "number": 1, "endTime": "2026-01-01T00:00:00Z", "reason": "Stalled"}]
            body = manifest | {"status": {"prepared": prepared, "attempts": live}}
            [asked] = [family for family in series_of([body]) if family.name == "medfinetune_run_gpus"]
            assert [sample.value for sample in asked.samples] == [gpus_of(run, stage) * run.pods_of(stage)]


def test_series_of_a_run_that_ends_stay_with_the_object(control_plane: ControlPlane, tmp_path: Path) -> None:
    """They are computed from the cache, so an operator that starts anew shows them too."""
    with operated(control_plane, tmp_path) as stage:
        stage.apply("known")
        stage.wait("known", "succeeded", phase(Phase.SUCCEEDED))
        before = of_run(stage, "known")
        stage.operator.server.kill()
        heir = OperatorProcess(control_plane, tmp_path, {"POD_NAME": "heir"})
        try:
            heir.wait_ready()
            stage.operator = heir
            assert of_run(stage, "known") == before != {}
        finally:
            heir.server.kill()
