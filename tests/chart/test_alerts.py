"""Alerts in earnest: runs of a real operator end badly, and a real Prometheus that scrapes it raises what the rules promise, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml
from cluster.control_plane import ControlPlane
from cluster.processes import wait_until
from cluster.prometheus import Prometheus
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import Phase
from medfinetune_api.exits import Exit
from support.operated import Operated, operated, phase
from support.pod_player import SUCCEEDS, Act, Part, Script

RULES = sorted((Path(__file__).parents[2] / "charts" / "medfinetune" / "rules").glob("*.yaml"))
ENDINGS: Mapping[str, tuple[Stage, Exit, Phase, str]] = {
    "diverges": (Stage.TRAIN, Exit.DIVERGED, Phase.FAILED, "MedFineTuneRunDiverged"),
    "stopped": (Stage.EVALUATE, Exit.GATE_FAILED, Phase.QUARANTINED, "MedFineTuneRunQuarantined"),
    "refused": (Stage.PREPARE, Exit.INVALID_DATA, Phase.FAILED, "MedFineTuneRunFailed"),
    "left": (Stage.PURGE, Exit.STORAGE_FAILED, Phase.SUCCEEDED, "MedFineTunePurgeFailed"),
}
"""By run: the stage that always ends so, the phase that it leaves the run in, and the alert."""


def test_runs_that_end_badly_raise_their_alerts(control_plane: ControlPlane, tmp_path: Path) -> None:
    with operated(control_plane, tmp_path / "operated") as stage:
        stage.apply("good")
        for name, (where, code, _, _) in ENDINGS.items():
            stage.apply(name, _ends(where, code))
        with _watching(stage, tmp_path / "prometheus") as prometheus:
            for name, (_, _, ended, _) in ENDINGS.items():
                stage.wait(name, "ended", phase(ended))
            stage.wait("good", "ended", phase(Phase.SUCCEEDED))
            wanted = {(alert, stage.home, name) for name, (_, _, _, alert) in ENDINGS.items()}
            wait_until(
                "every alert to fire",
                lambda: wanted <= _firing(prometheus),
                evidence=lambda: f"{_firing(prometheus)}\n{prometheus.now('medfinetune_run_phase')}",
            )
            assert _firing(prometheus) == wanted
            prometheus.wait_for('ALERTS{alertname="MedFineTuneRunFailed", reason="InvalidData", severity="warning"}')


def _ends(where: Stage, code: Exit) -> Script:
    def play(part: Part) -> Act:
        return Act(exit=code) if part.stage is where else SUCCEEDS

    return play


def _watching(stage: Operated, folder: Path) -> Prometheus:
    """A Prometheus that scrapes the operator as the ServiceMonitor says, and evaluates the chart's rules every half second."""
    targets = [{"targets": [f"127.0.0.1:{stage.operator.port}"], "labels": {"namespace": "medfinetune-system"}}]
    prometheus = Prometheus(folder, [{"job_name": "operator", "honor_labels": True, "static_configs": targets}])
    file = folder / "prometheus.yml"
    config = yaml.safe_load(file.read_text())
    config["global"]["evaluation_interval"] = "500ms"
    file.write_text(yaml.safe_dump(config | {"rule_files": [str(rules) for rules in RULES]}))
    return prometheus


def _firing(prometheus: Prometheus) -> set[tuple[str, str, str]]:
    """Name of each alert that fires, and the namespace and name of its run."""
    found = [each["metric"] for each in prometheus.now('ALERTS{alertstate="firing"}')]
    return {(each["alertname"], each.get("namespace", ""), each.get("name", "")) for each in found}
