"""Programs for all tests of the chart, and one real control plane for all of a test worker's that need no other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster.control_plane import ControlPlane
from cluster.programs import CONTROL_PLANE, program


@pytest.fixture(scope="session", autouse=True)
def _built(request: pytest.FixtureRequest) -> None:
    """A first run builds the programs for minutes: what it says about that must reach the terminal, not pytest's capture."""
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        for name in (*CONTROL_PLANE, "kube-apiserver-oldest", "helm", "kubeconform"):
            program(name)


@pytest.fixture(scope="session")
def control_plane(_built: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The API server with its controllers and this repository's CustomResourceDefinition, to the end of the session."""
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as started:
        yield started
