"""Who asked for a run: proven by an admission policy on a real API server, told to the pods only where the administrator says that it is installed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from cluster.control_plane import ControlPlane
from cluster.processes import wait_until
from medfinetune_api.choices import Stage
from medfinetune_api.objects import REQUESTER_ANNOTATION, SIGNING_FOLDER
from medfinetune_operator.resources.job import job
from medfinetune_operator.run import Run, read_run
from support.api import MERGE, Api, Json
from support.built import PLAIN, attempt, environment_of, pod_of, run_of
from support.manifests import minimal_manifest
from support.observed import SETTINGS, after, decide
from support.rights import POLICIES, of_chart, put

POLICY = "validatingadmissionpolicy/medfinetune-requester"


@pytest.fixture(scope="module")
def ward(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace in which erika and boris may make runs, in a cluster with the policy."""
    policy = of_chart(*POLICIES, admissionPolicies={"requester": {"enabled": True}})
    put(control_plane, [*of_chart("ClusterRole"), *policy])
    with control_plane.namespace() as name:
        control_plane.kubectl("create", "rolebinding", "editors", "-n", name, "--clusterrole", "medfinetune-editor", "--user", "erika", "--user", "boris")
        wait_until("the policy to hold", lambda: "found another name" in said(control_plane, name, "erika", "probe", "boris"))
        yield name
    control_plane.kubectl("delete", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": policy}))


def manifest(name: str, requester: str | None) -> Json:
    annotations = {} if requester is None else {"annotations": {REQUESTER_ANNOTATION: requester}}
    return minimal_manifest() | {"metadata": {"name": name} | annotations}


def said(cluster: ControlPlane, namespace: str, user: str, name: str, requester: str | None, verb: str = "create") -> str:
    """What the API server says to `user` who makes a run, or applies it again; empty where it went through."""
    done = cluster.kubectl(verb, "--as", user, "-n", namespace, "-f", "-", input=json.dumps(manifest(name, requester)), check=False)
    return done.stderr if done.returncode else ""


def test_a_run_is_asked_for_in_ones_own_name_and_keeps_it(control_plane: ControlPlane, ward: str) -> None:
    assert "found another name than erika" in said(control_plane, ward, "erika", "other", "boris")
    assert said(control_plane, ward, "erika", "mine", "erika") == ""
    assert said(control_plane, ward, "erika", "nobodys", None) == ""
    for name, to in (("mine", "boris"), ("mine", None), ("nobodys", "boris")):
        patch = json.dumps({"metadata": {"annotations": {REQUESTER_ANNOTATION: to}}})
        done = control_plane.kubectl("patch", "mft", name, "--as", "boris", "-n", ward, "--type", "merge", "-p", patch, check=False)
        assert "found a change" in done.stderr, (name, to)
    api, path = Api(control_plane), f"/apis/medfinetune.io/v1alpha1/namespaces/{ward}/medfinetunes/mine"
    api.send("PATCH", path, {"metadata": {"annotations": {"note": "kept"}}, "spec": {"runPolicy": {"suspend": True}}}, MERGE)
    stored = api.get(path)
    assert stored
    proving, seen = SETTINGS.model_copy(update={"requester": True}), read_run(stored)
    proven = after(seen, decide(seen, settings=proving))
    assert asked_by(proven) == ("erika", "true")
    assert asked_by(after(proven, decide(proven))) == ("erika", "true")
    unproven = after(seen, decide(seen))
    assert asked_by(unproven) == ("", "false")
    assert asked_by(after(unproven, decide(unproven, settings=proving))) == ("", "false"), "it was there before the policy"
    status = control_plane.kubectl("get", POLICY, "-o", "jsonpath={.status.typeChecking.expressionWarnings}").stdout
    assert status == ""


def asked_by(run: Run) -> tuple[str, str]:
    """What the pods of a run are told."""
    told = environment_of(pod_of(job(run, attempt(Stage.EVALUATE), PLAIN)))
    return told["MEDFINETUNE_REQUESTER"], told["MEDFINETUNE_REQUESTER_VERIFIED"]


def test_only_stages_that_sign_see_the_sites_key() -> None:
    settings = PLAIN.model_copy(update={"signing_secret": "site-key"})
    for stage in Stage:
        built = job(run_of(), attempt(stage), settings)["spec"]["template"]["spec"]
        secrets = [each["secret"]["secretName"] for each in built["volumes"] if "secret" in each]
        mounted = [each["mountPath"] for each in built["containers"][0]["volumeMounts"] if each["name"] == "signing" and each["readOnly"]]
        variables = [each["value"] for each in built["containers"][0]["env"] if each["name"] == "MEDFINETUNE_SIGNING_KEY"]
        signing = stage in (Stage.PREPARE, Stage.EVALUATE, Stage.RELEASE)
        assert (secrets, mounted, variables) == ((["site-key"], [SIGNING_FOLDER], [f"{SIGNING_FOLDER}/key.pem"]) if signing else ([], [], [])), stage
