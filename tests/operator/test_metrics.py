"""The operator's metrics, as Prometheus reads them: what is counted, what is of now, and what goes with its object."""

from __future__ import annotations

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


def fails_once(part: Part) -> Act:
    return Act(exit=Exit.OUT_OF_MEMORY) if (part.stage, part.attempt) == (Stage.TRAIN, 1) else SUCCEEDS


def test_the_operators_metrics(control_plane: ControlPlane, tmp_path: Path) -> None:
    with operated(control_plane, tmp_path) as stage:
        for name in ("stays", "goes"):
            stage.apply(name, fails_once)
        for name in ("stays", "goes"):
            stage.wait(name, "purged", lambda status: status.phase == Phase.SUCCEEDED and len(status.attempts) == 5 and status.attempts[-1].end_time)
        operator = stage.operator
        purged = lambda: value(operator, "medfinetune_operator_attempts_total", stage="purge", reason="Succeeded") == 2  # noqa: E731
        wait_until("the ends to be counted", purged, evidence=lambda: f"{scraped(operator)}\n{operator.server.tail(100)}")
        assert value(operator, "medfinetune_operator_attempts_total", stage="train", reason="OutOfMemory") == 2
        assert value(operator, "medfinetune_operator_attempts_total", stage="train", reason="Succeeded") == 2
        assert value(operator, "medfinetune_operator_reconciles_total", result="error") == 0
        assert value(operator, "medfinetune_operator_queue_seconds_count") == sum(
            number for (name, _), number in scraped(operator).items() if name == "medfinetune_operator_reconciles_total"
        )
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
        succeeded = value(operator, "medfinetune_operator_runs", phase="Succeeded") or 0
        stage.delete("goes")
        wait_until("its series to go", lambda: of_run(stage, "goes") == {})
        assert of_run(stage, "stays")
        assert value(operator, "medfinetune_operator_runs", phase="Succeeded") == succeeded - 1
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
