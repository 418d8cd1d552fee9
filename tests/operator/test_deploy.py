"""The plain YAML of operator/deploy on a real API server: it applies as it lies there, and gives the operator exactly the rights of docs/rbac.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster.control_plane import ControlPlane
from cluster.processes import wait_until
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from medfinetune_api.choices import Stage
from medfinetune_api.status import Attempt
from medfinetune_operator.observation import Child
from medfinetune_operator.resources.children import child
from medfinetune_operator.resources.job import job
from medfinetune_operator.run import Run, read_run
from medfinetune_operator.settings import Settings
from support.manifests import minimal_manifest
from support.rights import VERBS, Reviewer, Right

ROOT = Path(__file__).parents[2]
DEPLOY, SYSTEM, NAME = ROOT / "operator" / "deploy", "medfinetune-system", "medfinetune-operator"
OPERATOR = f"system:serviceaccount:{SYSTEM}:{NAME}"
ENFORCED = "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement"
RUNS, HOME = "In the namespaces of the runs (ClusterRole)", "In its own namespace (Role)"
FINALIZERS = ("medfinetune.io", "medfinetunes/finalizers", "update")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster that wants permission to block an owner's deletion, as OpenShift does, with this product installed as the README says."""
    with ControlPlane(tmp_path_factory.mktemp("deployed"), crd=False, users={"editor": (), "viewer": ()}, api_server_flags=[ENFORCED]) as started:
        applied = started.kubectl("apply", "--validate=strict", "-f", ROOT / "crds", "-f", DEPLOY)
        assert applied.stderr == ""
        started.install_crd()
        yield started


@pytest.fixture(scope="module")
def api(cluster: ControlPlane) -> client.ApiClient:
    return config.new_client_from_config(str(cluster.kubeconfig))


@pytest.fixture(scope="module")
def reviewer(cluster: ControlPlane) -> Reviewer:
    return Reviewer(cluster)


@pytest.fixture
def ward(cluster: ControlPlane) -> Iterator[str]:
    with cluster.namespace({"pod-security.kubernetes.io/enforce": "restricted"}) as name:
        yield name


def documented(heading: str) -> set[Right]:
    """The rights of one table of docs/rbac.md."""
    section = (ROOT / "docs" / "rbac.md").read_text().split(f"## {heading}")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([\w.]+) \| ([\w/]+(?: `[\w-]+`)?) \| ([\w, ]+) \|", section, re.MULTILINE)[1:]
    return {("" if group == "core" else group, resource.replace("`", ""), verb) for group, resource, verbs in rows for verb in verbs.split(", ")}


def stored_run(api: client.ApiClient, namespace: str) -> Run:
    """A run that a person has applied, as the operator reads it."""
    template = {"persistentVolumeClaim": None, "claimTemplate": {"storage": "1Gi"}}
    manifest = minimal_manifest(output={"volume": template})
    return read_run(client.CustomObjectsApi(api).create_namespaced_custom_object("medfinetune.io", "v1alpha1", namespace, "medfinetunes", manifest))


def first_job(run: Run) -> dict[str, Any]:
    return job(run, Attempt.model_validate({"stage": Stage.PREPARE, "number": 1, "startTime": "2026-01-01T00:00:00Z"}), Settings(trainer_image="trainer"))


def may_own(batch: client.BatchV1Api, run: Run) -> bool:
    """Whether a Job owned by the run would be admitted: the plugin looks for new kinds only every 30 s."""
    try:
        batch.create_namespaced_job(run.namespace, first_job(run), dry_run="All")
    except ApiException as refused:
        if "cannot find RESTMapping" not in str(refused.body):
            raise
        return False
    return True


def test_the_deployment_gets_its_pod_in_a_namespace_that_enforces_the_restricted_level(cluster: ControlPlane) -> None:
    def pods() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(cluster.kubectl("get", "pods", "-n", SYSTEM, "-o", "json").stdout)["items"]
        return found

    wait_until("the operator's pod", lambda: len(pods()) == 1)
    assert pods()[0]["spec"]["serviceAccountName"] == NAME
    level = cluster.kubectl("get", "namespace", SYSTEM, "-o", "jsonpath={.metadata.labels.pod-security\\.kubernetes\\.io/enforce}").stdout
    assert level == "restricted"


def test_the_settings_are_read_and_are_the_defaults(cluster: ControlPlane, tmp_path: Path) -> None:
    text = json.loads(cluster.kubectl("get", "configmap", NAME, "-n", SYSTEM, "-o", "json").stdout)["data"]["settings.yaml"]
    (tmp_path / "settings.yaml").write_text(text)
    assert Settings.load(tmp_path / "settings.yaml").to_json() == Settings(trainer_image="medfinetune-trainer:0.1.0").to_json()


def test_the_operator_may_do_exactly_what_is_documented(reviewer: Reviewer, ward: str) -> None:
    everywhere, at_home = documented(RUNS), documented(HOME)
    named = {right for right in at_home if " " in right[1]}
    assert reviewer.rights(OPERATOR, ward) == everywhere
    assert reviewer.rights(OPERATOR, SYSTEM) == everywhere | (at_home - named)
    lease = {("coordination.k8s.io", f"leases {NAME}", verb) for verb in VERBS}
    assert {right for right in lease if reviewer.may(OPERATOR, SYSTEM, right)} == named | {("coordination.k8s.io", f"leases {NAME}", "create")}


def test_with_its_rights_it_makes_all_that_a_run_has(cluster: ControlPlane, api: client.ApiClient, ward: str) -> None:
    operator = config.new_client_from_config(str(cluster.kubeconfig_for(OPERATOR, ward)))
    core, batch, networking = client.CoreV1Api(operator), client.BatchV1Api(operator), client.NetworkingV1Api(operator)
    run = stored_run(api, ward)
    made = {kind: child(kind, run, Settings(trainer_image="trainer")) for kind in Child}
    wait_until("admission knows the new kind", lambda: may_own(batch, run))
    core.create_namespaced_config_map(ward, made[Child.PLAN])
    core.create_namespaced_persistent_volume_claim(ward, made[Child.CLAIM])
    applied = {"field_manager": NAME, "force": True, "_content_type": "application/apply-patch+yaml"}
    core.patch_namespaced_service(run.identity.folder, ward, made[Child.SERVICE], **applied)
    networking.patch_namespaced_network_policy(run.identity.folder, ward, made[Child.POLICY], **applied)
    uid = batch.create_namespaced_job(ward, first_job(run)).metadata.uid
    batch.delete_namespaced_job(f"{run.name}-prepare-a1", ward, body={"propagationPolicy": "Foreground", "preconditions": {"uid": uid}})
    with pytest.raises(ApiException, match="Forbidden"):
        core.delete_namespaced_persistent_volume_claim(run.claim, ward)


def test_without_the_right_to_finalizers_it_could_own_nothing(cluster: ControlPlane, api: client.ApiClient, reviewer: Reviewer, ward: str) -> None:
    operator = client.BatchV1Api(config.new_client_from_config(str(cluster.kubeconfig_for(OPERATOR, ward))))
    rules = json.loads(cluster.kubectl("get", "clusterrole", NAME, "-o", "json").stdout)["rules"]
    others = [rule for rule in rules if rule["resources"] != [FINALIZERS[1]]]
    run = stored_run(api, ward)
    wait_until("admission knows the new kind", lambda: may_own(operator, run))
    try:
        cluster.kubectl("patch", "clusterrole", NAME, "--type=merge", "-p", json.dumps({"rules": others}))
        wait_until("the right is gone", lambda: not reviewer.may(OPERATOR, ward, FINALIZERS))
        with pytest.raises(ApiException, match="cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on"):
            operator.create_namespaced_job(ward, first_job(run))
    finally:
        cluster.kubectl("apply", "-f", DEPLOY / "rbac.yaml")
        wait_until("the right is back", lambda: reviewer.may(OPERATOR, ward, FINALIZERS))


def test_bound_in_one_namespace_it_has_no_rights_in_another(cluster: ControlPlane, reviewer: Reviewer, ward: str) -> None:
    pods = ("", "pods", "list")
    cluster.kubectl("delete", "clusterrolebinding", NAME)
    try:
        cluster.kubectl("create", "rolebinding", NAME, "--namespace", ward, "--clusterrole", NAME, "--serviceaccount", f"{SYSTEM}:{NAME}")
        with cluster.namespace() as other:
            wait_until("the binding counts", lambda: reviewer.may(OPERATOR, ward, pods) and not reviewer.may(OPERATOR, other, pods))
            assert reviewer.rights(OPERATOR, other) == set()
            assert reviewer.rights(OPERATOR, ward) == documented(RUNS)
    finally:
        cluster.kubectl("apply", "-f", DEPLOY / "rbac.yaml")
        wait_until("the right is back", lambda: reviewer.may(OPERATOR, SYSTEM, pods))


@pytest.mark.parametrize(("user", "role", "verbs"), [("viewer", "view", {"get", "list", "watch"}), ("editor", "edit", set(VERBS))])
def test_people_have_of_runs_what_they_have_of_their_namespace(
    cluster: ControlPlane, reviewer: Reviewer, ward: str, user: str, role: str, verbs: set[str]
) -> None:
    cluster.kubectl("create", "rolebinding", user, "--namespace", ward, "--clusterrole", role, "--user", user)
    wait_until("the role is aggregated", lambda: reviewer.may(user, ward, ("medfinetune.io", "medfinetunes", "get")))
    assert {right for right in reviewer.rights(user, ward) if right[0] == "medfinetune.io"} == {("medfinetune.io", "medfinetunes", verb) for verb in verbs}
