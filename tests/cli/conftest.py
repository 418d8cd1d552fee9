"""A namespace of its own for each test of the command line on a cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster.control_plane import ControlPlane
from support.cluster_cli import ClusterCli


@pytest.fixture
def cli(control_plane: ControlPlane) -> Iterator[ClusterCli]:
    """The command line, led by its kubeconfig to a fresh namespace that enforces the restricted pod-security level."""
    with control_plane.namespace({"pod-security.kubernetes.io/enforce": "restricted"}) as namespace:
        yield ClusterCli(control_plane, namespace)
