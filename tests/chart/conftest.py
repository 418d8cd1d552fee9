"""Programs for all tests of the chart."""

from __future__ import annotations

import pytest
from cluster.programs import CONTROL_PLANE, program


@pytest.fixture(scope="session", autouse=True)
def _built(request: pytest.FixtureRequest) -> None:
    """A first run builds the programs for minutes: what it says about that must reach the terminal, not pytest's capture."""
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        for name in (*CONTROL_PLANE, "kube-apiserver-oldest", "helm", "kubeconform"):
            program(name)
