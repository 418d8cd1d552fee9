"""The oldest Kubernetes that the chart claims: everything of it installs there, and the definition's rules decide as on the newest."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml
from cluster.control_plane import ControlPlane
from cluster.processes import wait_until
from cluster.programs import OLDEST
from cluster.prometheus_operator import definitions
from support.chart import CHART, NAMESPACE, SITES, Installed, only, render
from support.malformed import MALFORMED
from support.manifests import MINIMAL
from support.server_side import ServerSide


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The oldest API server, on which everything is installed, in a namespace that enforces the restricted pod-security level."""
    with ControlPlane(tmp_path_factory.mktemp("oldest"), crd=False, controllers=False, api_server="kube-apiserver-oldest") as started:
        restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
        started.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": restricted}})
        started.apply(*definitions())
        wait_until("monitors to be served", lambda: started.kubectl("get", "podmonitors,servicemonitors,prometheusrules", check=False).returncode == 0)
        Installed(started).install(**SITES["everything"])
        wait_until("runs to be served", lambda: started.kubectl("get", "medfinetunes", check=False).returncode == 0)
        yield started


def test_it_is_the_oldest_that_the_chart_claims(cluster: ControlPlane) -> None:
    found = json.loads(cluster.kubectl("get", "--raw", "/version").stdout)["gitVersion"]
    claimed = yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]
    assert found == OLDEST
    assert claimed == f">={'.'.join(OLDEST.removeprefix('v').split('.')[:2])}.0-0"


def test_everything_is_installed_and_pods_are_admitted(cluster: ControlPlane) -> None:
    manifests = render(SITES["everything"])
    test = only(manifests, "Pod")
    objects = [each for each in manifests if each is not test]
    cluster.kubectl("get", "-f", "-", input="\n---\n".join(map(json.dumps, objects)))
    operator = {"apiVersion": "v1", "kind": "Pod", **only(manifests, "Deployment")["spec"]["template"]}
    operator["metadata"] = {**operator["metadata"], "name": "operator"}
    for pod in (test, operator):
        cluster.kubectl("create", "--dry-run=server", "--validate=strict", "--namespace", NAMESPACE, "-f", "-", input=json.dumps(pod))


def test_manifests_are_accepted_and_refused_for_the_fields_for_which_the_newest_does(cluster: ControlPlane) -> None:
    server = ServerSide(cluster.kubeconfig, "default")
    assert server.create(MINIMAL) == {}
    found = {malformed.name: set(server.create(malformed.manifest())) for malformed in MALFORMED}
    assert found == {malformed.name: {malformed.field} for malformed in MALFORMED}
