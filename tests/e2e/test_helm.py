"""The release's own life: what Helm does to the operator, its rights and its CRD never touches a run that works, nor what one has left."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml
from cluster.processes import wait_until
from e2e import deployment
from e2e.cluster_access import SECONDS, Cluster
from e2e.runs import RunOnCluster, manifest, submit
from e2e.storage import Volumes


def test_upgrade_rollback_uninstall_and_reinstall_leave_runs_alone(operator: Cluster, volumes: Volumes, tmp_path: Path) -> None:
    run = submit(operator, volumes.namespace, manifest("lasting", epochs=12, checkpoint_every=5, tasks={"unseen-en"}))
    wait_until("training", lambda: bool(volumes.find("results", "lasting-*/checkpoints/step-*/manifest.json")), SECONDS, run.evidence)
    pods, before = uids(run), operator_pods(operator)
    deployment.upgrade(operator, next_chart(tmp_path), deployment.values(operator) | {"commonLabels": {"ward": "north"}})
    upgraded = operator_pods(operator)
    assert not upgraded & before
    operator.helm("rollback", deployment.RELEASE, "--namespace", deployment.NAMESPACE, "--wait", f"--timeout={SECONDS}s")
    assert not operator_pods(operator) & upgraded
    assert uids(run) == pods
    run.wait_until_ended()
    assert [(each["stage"], each["number"], each["reason"]) for each in run.status()["attempts"] if each["stage"] == "train"] == [("train", 1, "Succeeded")]

    status = run.status()
    deployment.uninstall(operator)
    assert run.status()["phase"] == "Succeeded"
    assert volumes.find("results", f"{status['artifacts']['folder']}/adapter/adapter_model.safetensors")
    deployment.install(operator)
    again = submit(operator, volumes.namespace, manifest("again", epochs=1, checkpoint_every=50, tasks={"unseen-en"}))
    again.wait_until_ended()
    assert work(run.status()) == work(status)
    assert run.status()["artifacts"] == status["artifacts"]


def work(status: dict[str, Any]) -> list[dict[str, Any]]:
    """What was tried, but for the purge, which may go on after the run has ended."""
    return [each for each in status["attempts"] if each["stage"] != "purge"]


def next_chart(folder: Path) -> Path:
    """The chart as its next version would be."""
    chart = Path(shutil.copytree(deployment.CHART, folder / "medfinetune"))
    about = yaml.safe_load((chart / "Chart.yaml").read_text(encoding="utf-8"))
    (chart / "Chart.yaml").write_text(yaml.safe_dump(about | {"version": "0.1.1"}), encoding="utf-8")
    return chart


def uids(run: RunOnCluster) -> set[str]:
    """The pods that train."""
    return {pod["metadata"]["uid"] for pod in run.pods("train")}


def operator_pods(cluster: Cluster) -> set[str]:
    """The operator's pods that are not on their way out."""
    pods = cluster.items("pods", "app.kubernetes.io/component=operator", deployment.NAMESPACE)
    return {pod["metadata"]["uid"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}
