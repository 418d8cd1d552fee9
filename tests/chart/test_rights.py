"""The operator's rights: the chart renders what docs/security.md says, each with its reason, and the real API server grants exactly that."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
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
from support.chart import CHART, NAMESPACE, RELEASE, only
from support.manifests import minimal_manifest
from support.rights import POLICIES, ROLES, VERBS, Reviewer, Right, granted, install_rights, of_chart, put

ROOT = Path(__file__).parents[2]
NAME = f"{RELEASE}-operator"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{NAME}"
ENFORCED = "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement"
RUNS, HOME = "In the namespaces of the runs", "In the release's namespace"
FINALIZERS = ("medfinetune.io", "medfinetunes/finalizers", "update")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster that wants permission to block an owner's deletion, as OpenShift does, with the operator's rights."""
    with ControlPlane(tmp_path_factory.mktemp("rights"), api_server_flags=[ENFORCED]) as started:
        assert install_rights(started) == ACCOUNT
        put(started, of_chart(*POLICIES, admissionPolicies={"operator": {"enabled": True}}, trainer={"signingSecret": "signing"}))
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
    """The rights of one table of docs/security.md."""
    section = (ROOT / "docs" / "security.md").read_text().split(f"### {heading}")[1].split("\n##")[0]
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


def test_everywhere_or_in_some_namespaces_the_chart_gives_what_is_documented() -> None:
    assert granted(of_chart(*ROLES), NAME) == {"": documented(RUNS), NAMESPACE: documented(HOME)}
    some = of_chart(*ROLES, watchNamespaces=["ward-1", "ward-2"])
    assert granted(some, NAME) == {"ward-1": documented(RUNS), "ward-2": documented(RUNS), NAMESPACE: documented(HOME)}
    assert {each["kind"] for each in some} == {"Role", "RoleBinding"}
    assert not [label for each in some for label in each["metadata"]["labels"] if "aggregate" in label]
    assert of_chart(*ROLES, rbac={"create": False}) == []


def test_every_rule_says_why_it_is_needed() -> None:
    lines = (CHART / "templates" / "_rights.tpl").read_text().splitlines()
    first, last = (lines.index(f'{{{{- define "medfinetune.{name}" -}}}}') for name in ("operatorRules", "viewerRules"))
    rules = [number for number in range(first, last) if lines[number].startswith("- apiGroups:")]
    assert len(rules) == 13
    assert [lines[number] for number in rules if not lines[number - 1].startswith("# ")] == []


def test_an_account_of_the_sites_own_gets_the_rights_in_its_place() -> None:
    given = {"create": False, "name": "site-account"}
    assert of_chart("ServiceAccount", serviceAccount=given) == []
    assert granted(of_chart(*ROLES, serviceAccount=given), "site-account") == granted(of_chart(*ROLES), NAME)
    assert only(of_chart("ServiceAccount"), "ServiceAccount")["automountServiceAccountToken"] is False


def test_the_operator_may_do_exactly_what_is_documented(reviewer: Reviewer, ward: str) -> None:
    everywhere, at_home = documented(RUNS), documented(HOME)
    named = {right for right in at_home if " " in right[1]}
    assert reviewer.rights(ACCOUNT, ward) == everywhere
    assert reviewer.rights(ACCOUNT, NAMESPACE) == everywhere | (at_home - named)
    lease = {("coordination.k8s.io", f"leases {NAME}", verb) for verb in VERBS}
    assert {right for right in lease if reviewer.may(ACCOUNT, NAMESPACE, right)} == named | {("coordination.k8s.io", f"leases {NAME}", "create")}


def test_with_some_namespaces_it_has_no_rights_in_another(cluster: ControlPlane, reviewer: Reviewer, ward: str) -> None:
    """As a second release, beside the first."""
    account = install_rights(cluster, release="second", watchNamespaces=[ward])
    with cluster.namespace() as other:
        assert reviewer.rights(account, other) == set()
    assert reviewer.rights(account, ward) == documented(RUNS)
    others = ("coordination.k8s.io", f"leases {NAME}", "update")
    assert not reviewer.may(account, NAMESPACE, others)


def test_with_its_rights_it_makes_all_that_a_run_has(cluster: ControlPlane, api: client.ApiClient, ward: str) -> None:
    operator = config.new_client_from_config(str(cluster.kubeconfig_for(ACCOUNT, ward)))
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


PODS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "an account's token": ({"automountServiceAccountToken": True}, {}),
    "a namespace of the node": ({"hostPID": True}, {}),
    "another volume": ({"volumes": [{"name": "tmp", "hostPath": {"path": "/"}}]}, {"volumeMounts": []}),
    "claims, ConfigMaps": ({"volumes": [{"name": "tmp", "secret": {"secretName": "other"}}]}, {"volumeMounts": []}),
    "variables from a Secret": ({}, {"envFrom": [{"secretRef": {"name": "other"}}]}),
    "found privilege": ({}, {"securityContext": {"privileged": True}}),
}
"""What no pod of a run has, of its spec and of its container, by a part of the policy's answer."""


def test_in_other_hands_its_rights_are_good_for_the_objects_of_runs_alone(cluster: ControlPlane, api: client.ApiClient, ward: str) -> None:
    operator = config.new_client_from_config(str(cluster.kubeconfig_for(ACCOUNT, ward)))
    core, batch = client.CoreV1Api(operator), client.BatchV1Api(operator)
    run = stored_run(api, ward)
    wait_until("admission knows the new kind", lambda: may_own(batch, run))
    foreign = {"metadata": {"name": "foreign"}, "data": {}}
    client.CoreV1Api(api).create_namespaced_config_map(ward, foreign)
    wait_until("the policy holds", lambda: "expected an object of a run" in refusal(core.delete_namespaced_config_map, "foreign", ward, dry_run="All"))
    assert "expected an object of a run" in refusal(core.create_namespaced_config_map, ward, {**foreign, "metadata": {"name": "another"}})
    signed = first_job(run)
    signed["spec"]["template"]["spec"]["volumes"].append({"name": "signing", "secret": {"secretName": "signing"}})
    batch.create_namespaced_job(ward, signed, dry_run="All")
    for words, (of_pod, of_container) in PODS.items():
        changed = first_job(run)
        changed["spec"]["template"]["spec"] |= of_pod
        changed["spec"]["template"]["spec"]["containers"][0] |= of_container
        assert words in refusal(batch.create_namespaced_job, ward, changed, dry_run="All")
    unlabelled = first_job(run)
    for each in (unlabelled, unlabelled["spec"]["template"]):  # a Job without labels takes those of its pods
        del each["metadata"]["labels"]
    assert "expected an object of a run" in refusal(batch.create_namespaced_job, ward, unlabelled, dry_run="All")


def refusal(call: Callable[..., object], *arguments: Any, **options: Any) -> str:
    """What the API server says to a call that it refuses; empty where it does not."""
    try:
        call(*arguments, **options)
    except ApiException as refused:
        return str(refused.body)
    return ""


def test_without_the_right_to_finalizers_it_could_own_nothing(cluster: ControlPlane, api: client.ApiClient, reviewer: Reviewer, ward: str) -> None:
    operator = client.BatchV1Api(config.new_client_from_config(str(cluster.kubeconfig_for(ACCOUNT, ward))))
    role = only(of_chart("ClusterRole"), "ClusterRole", NAME)
    others = [rule for rule in role["rules"] if rule["resources"] != [FINALIZERS[1]]]
    run = stored_run(api, ward)
    wait_until("admission knows the new kind", lambda: may_own(operator, run))
    try:
        cluster.kubectl("patch", "clusterrole", NAME, "--type=merge", "-p", json.dumps({"rules": others}))
        wait_until("the right is gone", lambda: not reviewer.may(ACCOUNT, ward, FINALIZERS))
        with pytest.raises(ApiException, match="cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on"):
            operator.create_namespaced_job(ward, first_job(run))
    finally:
        cluster.kubectl("patch", "clusterrole", NAME, "--type=merge", "-p", json.dumps({"rules": role["rules"]}))
        wait_until("the right is back", lambda: reviewer.may(ACCOUNT, ward, FINALIZERS))
