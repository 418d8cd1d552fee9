"""What a gate stops, on a real node: quarantined, with no adapter, until somebody whom the administrator allowed answers for it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from e2e.cluster_access import Cluster
from e2e.runs import RunOnCluster, manifest, submit
from e2e.storage import Volumes
from e2e.test_cli_on_node import environment
from medfinetune_api.objects import RELEASE_ANNOTATION, RELEASED_BY_ANNOTATION
from support.cli import command

REVIEWER = "reviewer@hospital.example"


def test_a_gate_stops_a_run_until_a_reviewer_releases_it(operator: Cluster, volumes: Volumes, tmp_path: Path) -> None:
    content = manifest("gated", number="08", epochs=1, checkpoint_every=50, tasks={"unseen-ko"}, gates={"korean"})
    run = submit(operator, volumes.namespace, content)
    run.wait_for_phase("Quarantined")
    status = run.status()
    folder = status["artifacts"]["folder"]
    assert "adapter" not in status["artifacts"]
    assert volumes.find("results", f"{folder}/adapter*") == []
    assert volumes.find("results", f"{folder}/quarantine/adapter_model.safetensors")
    assert exit_of_status(operator, run) == 71

    reason = {RELEASE_ANNOTATION: "for the workshop, no clinical use", RELEASED_BY_ANNOTATION: REVIEWER}
    assert "medfinetunes" in annotated(operator, run, reason)  # refused: the words name what the reviewer lacks
    operator.kubectl(
        "create", "rolebinding", "reviewers", f"--namespace={run.namespace}", "--clusterrole=medfinetune-releaser", f"--user={REVIEWER}", "--validate=strict"
    )
    assert annotated(operator, run, reason) == ""
    run.wait_for_phase("Released")
    assert exit_of_status(operator, run) == 0
    volumes.copy("results", tmp_path)
    decision = json.loads((tmp_path / folder / "release.json").read_text(encoding="utf-8"))
    assert (decision["by"], decision["reason"]) == (REVIEWER, reason[RELEASE_ANNOTATION])
    assert (tmp_path / folder / run.status()["artifacts"]["adapter"] / "adapter_model.safetensors").is_file()
    verified = subprocess.run(command("verify", tmp_path / folder), capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def exit_of_status(cluster: Cluster, run: RunOnCluster) -> int:
    shown = command("status", run.name, "--watch", "--namespace", run.namespace)
    return subprocess.run(shown, env=environment(cluster), capture_output=True, check=False).returncode


def annotated(cluster: Cluster, run: RunOnCluster, annotations: dict[str, str]) -> str:
    """Annotate the run as the reviewer; what the API server said where it refused."""
    given = [f"{key}={value}" for key, value in annotations.items()]
    try:
        cluster.kubectl("annotate", "mft", run.name, "--namespace", run.namespace, f"--as={REVIEWER}", *given)
    except AssertionError as refused:
        return str(refused)
    return ""
