"""kubeconform on every render, against what the API server itself says of its kinds, Prometheus Operator's among them."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path

import pytest
from cluster.control_plane import ControlPlane
from cluster.processes import wait_until
from cluster.programs import program
from cluster.prometheus_operator import definitions
from support.chart import SITES, Manifest, only, render
from support.server_schemas import write_schemas

MONITORS = "monitoring.coreos.com/v1"


@pytest.fixture(scope="module")
def schemas(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where kubeconform finds the schema of every kind that the chart may render."""
    control_plane.apply(*definitions())
    wait_until("the schemas of monitors", lambda: f"apis/{MONITORS}" in control_plane.kubectl("get", "--raw", "/openapi/v3").stdout)
    versions = {each["apiVersion"] for each in render(SITES["everything"])}
    return write_schemas(control_plane, versions, tmp_path_factory.mktemp("schemas"))


def invalid(schemas: str, manifests: list[Manifest], folder: Path) -> list[str]:
    """kind, name and words of each object that kubeconform does not accept."""
    file = folder / "manifests.yaml"
    file.write_text("\n---\n".join(map(json.dumps, manifests)))
    command = [program("kubeconform"), "-strict", "-output", "json", "-summary", "-schema-location", schemas, file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert told["summary"]["skipped"] == 0
    assert sum(told["summary"].values()) == len(manifests)
    return [f"{each['kind']} {each['name']}: {each['msg']}" for each in told["resources"]]


@pytest.mark.parametrize("site", SITES)
def test_every_object_conforms(schemas: str, site: str, tmp_path: Path) -> None:
    assert invalid(schemas, render(SITES[site]), tmp_path) == []


def test_what_does_not_conform_is_found(schemas: str, tmp_path: Path) -> None:
    manifests = copy.deepcopy(render(SITES["everything"]))
    only(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]["portz"] = []
    only(manifests, "Service")["spec"]["ports"][0]["port"] = "many"
    only(manifests, "PodMonitor")["spec"]["podMetricsEndpoints"][0]["intervall"] = "15s"
    only(manifests, "CustomResourceDefinition")["spec"].pop("group")
    assert {words.split()[0] for words in invalid(schemas, manifests, tmp_path)} == {"Deployment", "Service", "PodMonitor", "CustomResourceDefinition"}
