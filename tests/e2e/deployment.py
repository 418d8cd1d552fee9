"""The operator as an administrator installs it: operator/deploy applied, with the images of the cluster at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from cluster.processes import wait_until
from e2e.cluster_access import Cluster

NAMESPACE, NAME = "medfinetune-system", "medfinetune-operator"

_MANIFESTS = Path(__file__).parents[2] / "operator" / "deploy"


def install(cluster: Cluster) -> None:
    """Apply the operator's manifests and return once its pod is ready."""
    for path in sorted(_MANIFESTS.glob("*.yaml")):
        objects = [_with_images(each, cluster) for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
        cluster.apply(*objects)
    wait_until("the operator to be ready", lambda: _available(cluster), evidence=lambda: logs(cluster))


def logs(cluster: Cluster) -> str:
    """What the operator wrote lately."""
    return cluster.kubectl("logs", "--namespace", NAMESPACE, f"deployment/{NAME}", "--tail=100", check=False)


def remove(cluster: Cluster) -> None:
    """Take away what `install` made."""
    cluster.kubectl("delete", "--ignore-not-found", "-f", _MANIFESTS)


def _available(cluster: Cluster) -> bool:
    return bool(cluster.get("deployment", NAME, NAMESPACE).get("status", {}).get("availableReplicas"))


def _with_images(manifest: dict[str, Any], cluster: Cluster) -> dict[str, Any]:
    if manifest["kind"] == "Deployment":
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        container["image"] = cluster.operator_image
    if manifest["kind"] == "ConfigMap":
        settings = yaml.safe_load(manifest["data"]["settings.yaml"]) | {"trainerImage": cluster.trainer_image}
        manifest["data"]["settings.yaml"] = yaml.safe_dump(settings)
    return manifest
