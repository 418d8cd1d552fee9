"""The cluster for the end-to-end tests: a node of this machine (root), or the one that MEDFINETUNE_E2E_KUBECONFIG leads to.

An existing cluster needs the product's images where it can pull them (MEDFINETUNE_E2E_TRAINER_IMAGE, MEDFINETUNE_E2E_OPERATOR_IMAGE) and a storage
class whose volumes several pods may write (MEDFINETUNE_E2E_STORAGE_CLASS).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.control_plane import ControlPlane
from cluster.images import recipes
from cluster.node.node import Node
from e2e.cluster_access import Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if kubeconfig := os.environ.get("MEDFINETUNE_E2E_KUBECONFIG"):
        given = {name: os.environ[f"MEDFINETUNE_E2E_{name.upper()}"] for name in ("trainer_image", "operator_image", "storage_class")}
        yield Cluster(Path(kubeconfig), **given)
    else:
        yield from own_cluster(tmp_path_factory.mktemp("cluster"))


def own_cluster(folder: Path) -> Iterator[Cluster]:
    """One node and its control plane, with the images of this clone."""
    with Node(folder / "node") as node, ControlPlane(folder / "plane", scheduler=True, address=node.gateway, users=node.users) as plane:
        node.join(plane)
        images = {"trainer_image": recipes.trainer(node.images), "operator_image": recipes.operator(node.images)}
        plane.install_crd()
        yield Cluster(plane.kubeconfig, **images, node=node.name, volumes=folder / "volumes")
