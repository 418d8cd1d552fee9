"""The cluster for the end-to-end tests: a node of this machine (root), or the one that MEDFINETUNE_E2E_KUBECONFIG leads to.

An existing cluster needs the product's images where it can pull them (MEDFINETUNE_E2E_TRAINER_IMAGE, MEDFINETUNE_E2E_OPERATOR_IMAGE,
MEDFINETUNE_E2E_TRAINER_CPU_IMAGE) and a storage class whose volumes several pods may write (MEDFINETUNE_E2E_STORAGE_CLASS). `make test` does not
collect this folder: `pytest tests/e2e`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.control_plane import ControlPlane
from cluster.images import recipes
from cluster.node.node import Node
from e2e import deployment
from e2e.cluster_access import Cluster
from e2e.runs import EXAMPLE, build_models
from e2e.storage import Volumes, filled_volumes


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    if kubeconfig := os.environ.get("MEDFINETUNE_E2E_KUBECONFIG"):
        images = [os.environ[f"MEDFINETUNE_E2E_{name}_IMAGE"] for name in ("TRAINER", "OPERATOR", "TRAINER_CPU")]
        yield Cluster(folder, Path(kubeconfig), *images, storage_class=os.environ["MEDFINETUNE_E2E_STORAGE_CLASS"])
    else:
        yield from own_cluster(folder)


def own_cluster(folder: Path) -> Iterator[Cluster]:
    """One node and its control plane, with the images of this clone."""
    with Node(folder / "node") as node, ControlPlane(folder / "plane", crd=False, scheduler=True, address=node.gateway, users=node.users) as plane:
        node.join(plane)
        images = [recipe(node.images) for recipe in (recipes.trainer, recipes.operator, recipes.trainer_cpu)]
        asked, registry = node.agents["coredns"].log, node.images.address
        yield Cluster(folder, plane.kubeconfig, *images, node.name, folder / "volumes", names_asked=asked, registry=registry)


@pytest.fixture(scope="session")
def operator(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with the operator at work in it, installed by the chart."""
    try:
        deployment.install(cluster)
        yield cluster
    finally:
        deployment.remove(cluster)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the models volumes hold."""
    return build_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def volumes(cluster: Cluster, models: Path) -> Iterator[Volumes]:
    """A restricted namespace with the three volumes of a run, filled."""
    with cluster.namespace() as namespace, filled_volumes(cluster, namespace, models, EXAMPLE / "data") as volumes:
        yield volumes
