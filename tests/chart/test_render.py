"""What the chart renders for each kind of site, as scanners of manifests ask: security, health, names and selectors of its pods."""

from __future__ import annotations

import re

import pytest
from support.chart import NAMESPACE, RELEASE, SITES, HelmError, Manifest, only, pods, render, settings, site

PART = "app.kubernetes.io"


@pytest.fixture(params=SITES)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return site(request.param)


def test_pods_pass_what_scanners_ask(manifests: list[Manifest]) -> None:
    for pod in (each["spec"] for each in pods(manifests)):
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert all({"configMap", "emptyDir"} & set(volume) for volume in pod.get("volumes", []))
        assert all(volume["emptyDir"]["sizeLimit"] for volume in pod.get("volumes", []) if "emptyDir" in volume)
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"] | {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}} == pod["securityContext"]
        (container,) = pod["containers"]
        security = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert container["securityContext"] == security
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]
        assert "@sha256:" in container["image"] or not container["image"].endswith((":latest", container["image"].split(":")[0]))


def test_only_the_operator_has_a_token(manifests: list[Manifest]) -> None:
    operator, test = pods(manifests)
    assert operator["spec"]["automountServiceAccountToken"] is True
    assert test["spec"]["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in test["spec"]


def test_the_operator_is_one_at_a_time_and_probed(manifests: list[Manifest]) -> None:
    deployment = only(manifests, "Deployment")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert not [each for each in manifests if each["kind"] == "PodDisruptionBudget"]  # of one replica it would only stop drains
    (container,) = deployment["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]  # by which a lost holder of the Lease is known
    asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in asked.items()} == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {ports[probe["port"]] for probe in asked.values()} == {settings(manifests).metrics_port}
    patience = container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"]
    assert (patience, deployment["template"]["spec"]["terminationGracePeriodSeconds"]) == (120, 30)


def test_selectors_find_the_operators_pod_and_no_other(manifests: list[Manifest]) -> None:
    operator, test = (set(pod["metadata"]["labels"].items()) for pod in pods(manifests))
    service = only(manifests, "Service")
    for selector in (only(manifests, "Deployment")["spec"]["selector"]["matchLabels"], service["spec"]["selector"]):
        assert set(selector.items()) <= operator
        assert not set(selector.items()) <= test
    (port,) = service["spec"]["ports"]
    assert port["targetPort"] in {each["name"] for each in pods(manifests)[0]["spec"]["containers"][0]["ports"]}
    assert f"http://{service['metadata']['name']}.{NAMESPACE}.svc:{port['port']}" in pods(manifests)[1]["spec"]["containers"][0]["command"]


def test_every_object_says_whose_it_is(manifests: list[Manifest]) -> None:
    expected = {f"{PART}/name": "medfinetune", f"{PART}/instance": RELEASE, f"{PART}/managed-by": "Helm", f"{PART}/part-of": "medfinetune"}
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in manifests]
    assert len(set(names)) == len(names)
    for each in manifests:
        assert expected.items() <= each["metadata"]["labels"].items(), each["metadata"]
        assert {f"{PART}/version", f"{PART}/component", "helm.sh/chart"} <= set(each["metadata"]["labels"])


def test_an_older_kubernetes_is_refused() -> None:
    with pytest.raises(HelmError, match=r"chart requires kubeVersion: >=1\.30\.0-0 which is incompatible with Kubernetes v1\.29\.9"):
        render(kube_version="v1.29.9")


@pytest.mark.parametrize("release", ["my.release", "1abc"])
def test_a_release_whose_name_begins_no_services_is_refused(release: str) -> None:
    with pytest.raises(HelmError, match=f"release name: found {re.escape(release)}.*; expected lower-case letters, digits and dashes, a letter first"):
        render(release=release)
    assert only(render({"fullnameOverride": "trial"}, release), "Service")["metadata"]["name"] == "trial-operator"


def test_an_image_names_its_registry_once() -> None:
    for registry in ("a:5000", "a.example", "localhost"):
        with pytest.raises(
            HelmError, match=rf"image\.repository: found {registry}/operator, which names a registry, beside imageRegistry b; expected one of them"
        ):
            render({"imageRegistry": "b", "operator": {"image": {"repository": f"{registry}/operator"}}})


def test_names_fit_whatever_the_release_is_called() -> None:
    longest = "a" * 53
    for each in render(SITES["everything"], release=longest, namespace="b" * 63):
        assert len(each["metadata"]["name"]) <= 63 or each["kind"] == "CustomResourceDefinition", each["metadata"]["name"]
        assert all(len(value) <= 63 for value in each["metadata"]["labels"].values())
