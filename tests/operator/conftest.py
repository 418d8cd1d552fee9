"""One real control plane for all operator tests of a test worker, and a namespace of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster.control_plane import ControlPlane
from cluster.programs import CONTROL_PLANE, program


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The API server with its controllers and this repository's CustomResourceDefinition, to the end of the session."""
    # A first run builds the programs for minutes: what it says about that must reach the terminal, not pytest's capture.
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        for name in (*CONTROL_PLANE, "helm"):
            program(name)
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as started:
        yield started


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A fresh namespace."""
    with control_plane.namespace() as name:
        yield name
