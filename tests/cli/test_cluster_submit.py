"""`medfinetune submit` against the real API server: created, there already, another runPolicy, refused; and never anything but what the manifest says."""

from __future__ import annotations

import json
from pathlib import Path

from cluster.credentials import VISITOR
from cluster.processes import wait_until
from medfinetune_api.identity import local_identity
from medfinetune_api.manifest import parse_manifest
from medfinetune_api.objects import REQUESTER_ANNOTATION
from medfinetune_api.spec_training import TrainingSpec
from support.cli import medfinetune
from support.cluster_cli import SUCCEEDED, ClusterCli
from support.manifests import minimal_manifest


def test_a_run_is_created_as_written_with_the_servers_defaults(cli: ClusterCli, tmp_path: Path) -> None:
    told = cli.json("submit", cli.written(tmp_path, training={"epochs": 5}))
    stored = cli.get("mft", "ward")
    assert (told["action"], told["name"], told["namespace"], told["uid"]) == ("created", "ward", cli.namespace, stored["metadata"]["uid"])
    assert stored["spec"]["training"] == TrainingSpec(epochs=5).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert "tuning" not in stored["spec"]  # a default of the program, written down, could no longer be told from the user's own value
    expected = parse_manifest({**minimal_manifest(training={"epochs": 5}), "metadata": {"name": "ward"}})
    parsed = parse_manifest({**{part: stored[part] for part in ("apiVersion", "kind", "spec")}, "metadata": {"name": "ward"}})
    assert local_identity(parsed) == local_identity(expected)


def requester(cli: ClusterCli, name: str) -> str | None:
    annotations: dict[str, str] = cli.get("mft", name)["metadata"].get("annotations") or {}
    return annotations.get(REQUESTER_ANNOTATION)


def test_who_asks_is_written_as_the_api_server_knows_them(cli: ClusterCli, tmp_path: Path) -> None:
    cli.plane.kubectl("create", "rolebinding", "edit", "-n", cli.namespace, "--clusterrole", "cluster-admin", "--user", VISITOR)
    visitor = cli.plane.kubeconfig_for(VISITOR, cli.namespace)
    assert cli.run("submit", cli.written(tmp_path), kubeconfig=visitor).stderr == ""
    assert requester(cli, "ward") == VISITOR
    assert cli.json("submit", cli.written(tmp_path))["action"] == "unchanged", "by whomever else it is submitted"
    assert requester(cli, "ward") == VISITOR

    path = tmp_path / "named.json"
    path.write_text(json.dumps({**minimal_manifest(), "metadata": {"name": "named", "annotations": {REQUESTER_ANNOTATION: "erika", "ward": "5"}}}))
    assert cli.run("submit", path).stderr == ""
    assert cli.get("mft", "named")["metadata"]["annotations"] == {REQUESTER_ANNOTATION: "erika", "ward": "5"}, "a manifest that names somebody stands"


def test_where_the_api_server_does_not_tell_who_asks_it_is_said_once_and_submitted_without(cli: ClusterCli, tmp_path: Path) -> None:
    cli.plane.kubectl("create", "rolebinding", "edit", "-n", cli.namespace, "--clusterrole", "cluster-admin", "--user", VISITOR)
    visitor, everyone = cli.plane.kubeconfig_for(VISITOR, cli.namespace), ("clusterrolebinding", "system:basic-user")
    before = json.loads(cli.plane.kubectl("get", *everyone, "-o", "json").stdout)
    cli.plane.kubectl("delete", *everyone)
    try:
        asked = ("auth", "can-i", "create", "selfsubjectreviews.authentication.k8s.io", "--as", VISITOR, "--as-group", "system:authenticated")
        wait_until("the right to be gone", lambda: cli.plane.kubectl(*asked, check=False).returncode != 0)
        done = cli.run("submit", cli.written(tmp_path), kubeconfig=visitor)
    finally:
        restored = {**before, "metadata": {"name": before["metadata"]["name"], "labels": before["metadata"].get("labels", {})}}
        cli.plane.kubectl("create", "-f", "-", input=json.dumps(restored))
    assert (done.returncode, done.stderr.count("\n"), requester(cli, "ward")) == (0, 1, None)
    assert "does not tell who you are (SelfSubjectReview: Forbidden)" in done.stderr


def test_the_same_manifest_again_changes_nothing(cli: ClusterCli, tmp_path: Path) -> None:
    manifest = cli.written(tmp_path)
    cli.json("submit", manifest)
    before = cli.get("mft", "ward")
    assert cli.json("submit", manifest)["action"] == "unchanged"
    assert cli.get("mft", "ward") == before


def test_another_run_policy_alone_is_taken_over_and_any_other_change_refused(cli: ClusterCli, tmp_path: Path) -> None:
    cli.json("submit", cli.written(tmp_path, runPolicy={"maxRestarts": 1, "activeDeadlineSeconds": 600}))
    told = cli.json("submit", cli.written(tmp_path, runPolicy={"maxRestarts": 7}))
    assert (told["action"], set(told["changed"])) == ("changed", {"spec.runPolicy.maxRestarts", "spec.runPolicy.activeDeadlineSeconds"})
    policy = cli.get("mft", "ward")["spec"]["runPolicy"]
    assert (policy["maxRestarts"], "activeDeadlineSeconds" in policy) == (7, False)

    before = cli.get("mft", "ward")
    refused = cli.json("submit", cli.written(tmp_path, training={"epochs": 9}, runPolicy={"maxRestarts": 2}))
    assert (refused["exitCode"], refused["problems"][0]["where"]) == (64, "spec.training.epochs")
    assert "immutable but for runPolicy" in refused["problems"][0]["expected"]
    assert cli.get("mft", "ward") == before


def test_a_dry_run_is_checked_by_the_server_and_stores_nothing(cli: ClusterCli, tmp_path: Path) -> None:
    told = cli.json("submit", cli.written(tmp_path), "--dry-run=server")
    assert (told["action"], told["dryRun"]) == ("created", True)
    assert cli.items("mft") == []


def test_an_invalid_manifest_is_refused_in_the_words_of_validate_before_any_cluster_is_asked(cli: ClusterCli, tmp_path: Path) -> None:
    manifest = cli.written(tmp_path, data={"maxLenght": 64}, training={"epochs": 0})
    refused, validated = cli.run("submit", manifest, kubeconfig=tmp_path / "none"), medfinetune("validate", manifest, COLUMNS="240")
    assert (refused.returncode, refused.stderr) == (64, validated.stderr)


def test_two_namespaces_for_one_run_are_refused(cli: ClusterCli, tmp_path: Path) -> None:
    path = tmp_path / "placed.json"
    path.write_text(json.dumps({**minimal_manifest(), "metadata": {"name": "ward", "namespace": cli.namespace}}))
    refused = cli.json("submit", path, "--namespace", "default")
    assert (refused["exitCode"], refused["problems"][0]["where"]) == (2, "--namespace")
    assert cli.json("submit", path, "--kubeconfig", cli.plane.kubeconfig)["namespace"] == cli.namespace  # whose context says: default


def test_wait_follows_the_run_to_its_end(cli: ClusterCli, tmp_path: Path) -> None:
    cli.stored("ward")
    cli.write_status("ward", SUCCEEDED)
    done = cli.run("submit", cli.written(tmp_path), "--wait")
    assert done.returncode == 0
    assert "kormedmcqa" in done.stdout
