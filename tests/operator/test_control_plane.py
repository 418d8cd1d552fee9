"""The control plane that the operator's tests stand on is a real one, and takes this repository's resource as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cluster.control_plane import CRD, ControlPlane
from cluster.credentials import ADMIN, VISITOR
from cluster.processes import wait_until
from cluster.programs import VERSION

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/manifest.yaml"))
PROGRAM = {"name": "main", "image": "nothing.invalid/nothing", "command": ["true"]}


def job(name: str) -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", "containers": [PROGRAM]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"completions": 2, "parallelism": 2, "completionMode": "Indexed", "template": template},
    }


def pods(cluster: ControlPlane, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(cluster.kubectl("get", "pods", "-n", namespace, "-o", "json").stdout)["items"]
    return found


def test_its_programs_are_kubernetes_of_the_pinned_version(control_plane: ControlPlane) -> None:
    versions = json.loads(control_plane.kubectl("version", "-o", "json").stdout)
    assert (versions["serverVersion"]["gitVersion"], versions["clientVersion"]["gitVersion"]) == (VERSION, VERSION)


@pytest.mark.parametrize("written", [None, "", "-----BEGIN CERTIFICATE-----\nMIID"], ids=["not yet", "opened", "half"])
def test_a_server_whose_certificate_is_being_written_does_not_answer_yet(tmp_path: Path, written: str | None) -> None:
    cluster = ControlPlane(tmp_path)
    if written is not None:
        cluster.credentials.certificate.write_text(written)
    assert not cluster.answers("/readyz")


def test_an_indexed_job_gets_its_pods_and_ends_with_them(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.apply(job("gang"), namespace=namespace)
    wait_until("two pods", lambda: len(pods(control_plane, namespace)) == 2)
    index = "batch.kubernetes.io/job-completion-index"
    assert sorted(pod["metadata"]["annotations"][index] for pod in pods(control_plane, namespace)) == ["0", "1"]
    for pod in pods(control_plane, namespace):
        control_plane.kubectl("patch", "pod", pod["metadata"]["name"], "-n", namespace, "--subresource=status", "-p", '{"status": {"phase": "Succeeded"}}')
    control_plane.kubectl("wait", "job/gang", "-n", namespace, "--for=condition=Complete", "--timeout=60s")


def test_what_a_run_owns_goes_with_it(control_plane: ControlPlane, namespace: str) -> None:
    created = json.loads(control_plane.kubectl("create", "-n", namespace, "-f", EXAMPLES[0], "-o", "json").stdout)
    owner = {"apiVersion": created["apiVersion"], "kind": created["kind"]} | {key: created["metadata"][key] for key in ("name", "uid")}
    control_plane.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "child", "ownerReferences": [owner]}}, namespace=namespace)
    control_plane.kubectl("delete", "medfinetune", owner["name"], "-n", namespace)
    control_plane.kubectl("wait", "configmap/child", "-n", namespace, "--for=delete", "--timeout=60s")


def test_a_restricted_namespace_refuses_a_privileged_pod(control_plane: ControlPlane) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root"},
        "spec": {"containers": [PROGRAM | {"securityContext": {"privileged": True}}]},
    }
    with control_plane.namespace({"pod-security.kubernetes.io/enforce": "restricted"}) as namespace:
        refused = control_plane.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(pod), check=False)
        assert refused.returncode == 1
        assert 'violates PodSecurity "restricted:latest": privileged' in refused.stderr
        assert pods(control_plane, namespace) == []


def test_who_was_granted_nothing_may_do_nothing(control_plane: ControlPlane, namespace: str) -> None:
    for user in (VISITOR, f"system:serviceaccount:{namespace}:default"):
        refused = control_plane.kubectl("get", "medfinetunes", "-n", namespace, check=False, kubeconfig=control_plane.kubeconfig_for(user, namespace))
        assert f'User "{user}" cannot list resource "medfinetunes" in API group "medfinetune.io" in the namespace "{namespace}"' in refused.stderr


def test_the_custom_resource_definition_is_accepted_without_a_warning(control_plane: ControlPlane) -> None:
    accepted = control_plane.kubectl("apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", CRD)
    assert accepted.stderr == ""
    stored = json.loads(control_plane.kubectl("get", "-f", CRD, "-o", "json").stdout)
    conditions = {condition["type"]: condition["status"] for condition in stored["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.parametrize("manifest", EXAMPLES, ids=lambda path: path.parent.name)
def test_every_example_passes_the_api_server(control_plane: ControlPlane, namespace: str, manifest: Path) -> None:
    accepted = control_plane.kubectl("create", "-n", namespace, "--validate=strict", "--dry-run=server", "-f", manifest)
    assert accepted.stderr == ""


def test_the_api_server_comes_back_with_what_it_knew(control_plane: ControlPlane, namespace: str) -> None:
    manifest = EXAMPLES[0]
    control_plane.kubectl("create", "-n", namespace, "-f", manifest)
    before = control_plane.kubectl("get", "medfinetunes", "-n", namespace, "-o", "json").stdout
    control_plane.stop_api_server()
    during = control_plane.kubectl("get", "medfinetunes", "-n", namespace, check=False)
    control_plane.start_api_server()
    assert "was refused" in during.stderr
    assert control_plane.kubectl("get", "medfinetunes", "-n", namespace, "-o", "json").stdout == before
    control_plane.apply(job("after"), namespace=namespace)
    wait_until("pods from controllers that outlived the outage", lambda: len(pods(control_plane, namespace)) == 2)


def test_the_audit_log_names_every_write_once_and_no_read(tmp_path: Path) -> None:
    with ControlPlane(tmp_path, crd=False, controllers=False, audit=True) as cluster:
        for verb in ("create", "get", "delete"):
            cluster.kubectl(verb, "configmap", "noted")
        noted = [event for event in cluster.audit_events() if event.get("objectRef", {}).get("name") == "noted"]
        assert [(event["verb"], event["user"]["username"], event["responseStatus"]["code"]) for event in noted] == [
            ("create", ADMIN, 201),
            ("delete", ADMIN, 200),
        ]


def test_a_program_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    cluster = ControlPlane(tmp_path, api_server_flags=["--no-such-flag"])
    with pytest.raises(AssertionError, match=r"kube-apiserver ended with 1 before answering /readyz(?s:.*)unknown flag: --no-such-flag"):
        cluster.__enter__()
    assert {server.name: server.ended() for server in cluster.servers.values()} == {"etcd": True, "kube-apiserver": True}
