"""The product as an administrator installs it: by Helm, into a namespace that enforces the restricted level, with the images of the cluster at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from e2e.cluster_access import RESTRICTED, SECONDS, Cluster

CHART = Path(__file__).parents[2] / "charts" / "medfinetune"
RELEASE, NAMESPACE, NAME = "medfinetune", "medfinetune-system", "medfinetune-operator"
CRD = "medfinetunes.medfinetune.io"


def values(cluster: Cluster) -> dict[str, Any]:
    """Values of the release: the cluster's images, the trainer's without CUDA for runs that name it, and both admission policies."""
    policies = {name: {"enabled": True} for name in ("release", "requester")}
    images = {"operator": {"image": _image(cluster.operator_image)}, "trainer": {"image": _image(cluster.trainer_image)}}
    return {**images, "allowed": {"images": [cluster.trainer_cpu_image]}, "admissionPolicies": policies}


def install(cluster: Cluster) -> None:
    """Install the chart, and return once the operator is ready and has passed the chart's own test."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": RESTRICTED}})
    upgrade(cluster, CHART, values(cluster), "--install")
    cluster.helm("test", RELEASE, "--namespace", NAMESPACE, "--logs")


def upgrade(cluster: Cluster, chart: Path, given: dict[str, Any], *more: str) -> None:
    """Bring the release to `chart` with these values; return once the operator is ready."""
    cluster.helm("upgrade", RELEASE, chart, "--namespace", NAMESPACE, "--wait", f"--timeout={SECONDS}s", *more, values=given)


def logs(cluster: Cluster) -> str:
    """What the operator wrote lately."""
    return cluster.kubectl("logs", "--namespace", NAMESPACE, f"deployment/{NAME}", "--tail=100", check=False)


def uninstall(cluster: Cluster, *more: str) -> None:
    """Take the release away."""
    cluster.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", f"--timeout={SECONDS}s", *more)


def remove(cluster: Cluster) -> None:
    """Take away what `install` made, and what the chart keeps."""
    uninstall(cluster, "--ignore-not-found")
    cluster.kubectl("delete", "--ignore-not-found", "crd", CRD)
    cluster.kubectl("delete", "--ignore-not-found", "namespace", NAMESPACE)


def _image(reference: str) -> dict[str, str]:
    repository, _, tag = reference.rpartition(":")
    return {"repository": repository, "tag": tag}
