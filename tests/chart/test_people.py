"""People's roles: who has only `medfinetune-editor` does their work with the real command line and kubectl and nothing else, who has the viewer's looks on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.control_plane import ControlPlane
from cluster.processes import wait_until
from medfinetune_api.spec import API_VERSION, KIND
from medfinetune_cli.fetched import RIGHTS
from support.chart import RELEASE, Manifest, only
from support.cluster_cli import SUCCEEDED, TRAINING, ClusterCli
from support.rights import POLICIES, ROLES, Reviewer, Right, of_chart, put, rights_of

ROOT = Path(__file__).parents[2]
ROLE_OF = {"editor": "medfinetune-editor", "viewer": "medfinetune-viewer", "releaser": "medfinetune-releaser", "clerk": "edit", "reader": "view"}
RUNS = ("medfinetune.io", "medfinetunes")
RELEASABLE = {"admissionPolicies": {"release": {"enabled": True}}}


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterCli]:
    """A namespace in which each of these users has one role."""
    with ControlPlane(tmp_path_factory.mktemp("people"), users=dict.fromkeys(ROLE_OF, ())) as cluster, cluster.namespace() as home:
        put(cluster, of_chart("ClusterRole", **RELEASABLE))
        for user, role in ROLE_OF.items():
            cluster.kubectl("create", "rolebinding", user, "--namespace", home, "--clusterrole", role, "--user", user)
        reviewer = Reviewer(cluster)
        wait_until("roles to count, and to be joined", lambda: all(reviewer.may(user, home, (*RUNS, "get")) for user in ROLE_OF))
        yield ClusterCli(cluster, home)


@pytest.fixture(scope="module")
def reviewer(ward: ClusterCli) -> Reviewer:
    return Reviewer(ward.plane)


def documented(role: str) -> set[Right]:
    """The rights of a role in the table of docs/security.md."""
    (cell,) = re.findall(rf"^\| `medfinetune-{role}` \| ([^|]+) \|", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE)
    parts = (part.split(": ") for part in cell.split("; "))
    return {("medfinetune.io" if kind == "medfinetunes" else "", kind, verb) for kind, verbs in parts for verb in verbs.split(", ")}


def medfinetune(ward: ClusterCli, user: str, *arguments: str | Path) -> tuple[int, str]:
    """Exit code and words of the command line."""
    done = ward.run(*arguments, kubeconfig=ward.plane.kubeconfig_for(user, ward.namespace))
    return done.returncode, done.stdout + done.stderr


def kubectl(ward: ClusterCli, user: str, *arguments: str | Path) -> str:
    """What kubectl says to the administrator who impersonates `user`; empty where it did as told."""
    done = ward.plane.kubectl(*arguments, "--as", user, "--as-group", "system:authenticated", "-n", ward.namespace, check=False)
    return done.stderr if done.returncode else ""


def test_an_editor_does_their_work_by_the_command_line(ward: ClusterCli, tmp_path: Path) -> None:
    def works(*arguments: str | Path, code: int = 0) -> str:
        found, said = medfinetune(ward, "editor", *arguments)
        assert found == code, (arguments, said)
        return said

    works("submit", ward.written(tmp_path, "work"))
    run = ward.get("mft", "work")
    assert run["metadata"]["annotations"]["medfinetune.io/requester"] == "editor"
    ward.write_status("work", TRAINING)
    assert "Training" in works("status", "work")
    works("suspend", "work")
    works("resume", "work")
    ward.plane.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "away"}})
    ward.add_pod(run, "train", 2, 0, node="away", running=True)
    assert "error log of pod work-train-a2-0" in works("logs", "work", code=1), "asked for, though this cluster has no node to answer"
    works("cancel", "work", "--yes")
    assert ward.get("mft", "work")["spec"]["runPolicy"]["cancel"] is True
    ward.write_status("work", SUCCEEDED)
    assert "list jobs.batch" in works("fetch", "work", "--to", tmp_path / "to", code=2)


def test_an_editor_does_their_work_by_kubectl(ward: ClusterCli, tmp_path: Path) -> None:
    manifest = ward.written(tmp_path, "mine")
    for verb in ("apply", "apply", "replace", "get", "delete"):
        assert kubectl(ward, "editor", verb, "-f", manifest) == "", verb
    assert kubectl(ward, "editor", "create", "-f", manifest) == ""
    assert kubectl(ward, "editor", "patch", "mft", "mine", "--type=merge", "-p", '{"spec": {"runPolicy": {"suspend": true}}}') == ""
    told = kubectl(ward, "editor", "patch", "mft", "mine", "--type=merge", "--subresource=status", "-p", json.dumps({"status": SUCCEEDED}))
    assert 'resource "medfinetunes/status"' in told


@pytest.mark.parametrize("user", ["editor", "viewer"])
def test_and_may_do_nothing_else(ward: ClusterCli, reviewer: Reviewer, user: str) -> None:
    assert reviewer.rights(user, ward.namespace) == documented(user) == rights_of(only(of_chart("ClusterRole"), "ClusterRole", f"{RELEASE}-{user}"))
    assert not reviewer.may(user, ward.namespace, (*RUNS, "release"))
    assert not reviewer.may(user, "default", (*RUNS, "get"))


def test_a_viewer_looks_on(ward: ClusterCli, tmp_path: Path) -> None:
    ward.stored("seen")
    ward.write_status("seen", TRAINING)
    assert "Training" in medfinetune(ward, "viewer", "status", "seen")[1]
    assert kubectl(ward, "viewer", "get", "mft", "seen") == ""
    uid = ward.get("mft", "seen")["metadata"]["uid"]
    about = {"apiVersion": API_VERSION, "kind": KIND, "namespace": ward.namespace, "name": "seen", "uid": uid}
    ward.plane.apply(
        {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "seen.1"}, "involvedObject": about, "reason": "Telling", "message": "words"},
        namespace=ward.namespace,
    )
    assert "Telling" in ward.plane.kubectl("describe", "mft", "seen", "-n", ward.namespace, "--as", "viewer").stdout
    for verb in (("submit", ward.written(tmp_path, "theirs")), ("suspend", "seen"), ("logs", "seen")):
        code, said = medfinetune(ward, "viewer", *verb)
        assert (code, "Ask an administrator of the cluster for a role" in said) == (2, True), said
    assert 'cannot delete resource "medfinetunes"' in kubectl(ward, "viewer", "delete", "mft", "seen")


def test_the_clusters_own_roles_have_them_too_and_fetch_besides(ward: ClusterCli, reviewer: Reviewer) -> None:
    def lacks(user: str, rights: set[Right]) -> set[Right]:
        return {right for right in rights if not reviewer.may(user, ward.namespace, right)}

    fetch = {(group, resource, verb) for verb, resource, group in RIGHTS}
    assert lacks("clerk", documented("editor") | fetch) == set()
    assert lacks("reader", documented("editor")) == {(*RUNS, verb) for verb in ("create", "update", "patch", "delete")}
    assert lacks("editor", fetch) == fetch - documented("editor")
    for user in ("clerk", "reader", "editor"):
        assert lacks(user, {(*RUNS, "release"), ("medfinetune.io", "medfinetunes/status", "update")}) != set()
    assert lacks("releaser", documented("releaser")) == set()


def test_the_roles_are_joined_where_that_is_wanted_and_may_be() -> None:
    def joined(objects: list[Manifest]) -> dict[str, str]:
        labels = {each["metadata"]["name"]: each["metadata"]["labels"] for each in objects}
        return {name: label.rpartition("-")[2] for name, found in labels.items() for label in found if "aggregate" in label}

    assert joined(of_chart(*ROLES)) == {"medfinetune-viewer": "view", "medfinetune-editor": "edit"}
    assert joined(of_chart(*ROLES, rbac={"aggregate": False})) == {}
    some = [
        each for each in of_chart(*ROLES, watchNamespaces=["ward-1", "ward-2"], **RELEASABLE) if not each["metadata"]["name"].startswith("medfinetune-operator")
    ]
    places = [(each["kind"], each["metadata"]["name"], each["metadata"]["namespace"]) for each in some]
    assert sorted(places) == [("Role", f"medfinetune-{name}", f"ward-{ward}") for name in ("editor", "releaser", "viewer") for ward in (1, 2)]
    assert not [each for each in of_chart(*ROLES, *POLICIES) if "release" in each["metadata"]["name"]], "without the policy the verb decides nothing"
