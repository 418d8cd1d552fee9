"""`medfinetune fetch` on a real API server that enforces the restricted level, as far as one without nodes can show: the pod, and that it always goes."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cluster.processes import wait_until
from medfinetune_cli.fetched import RIGHTS
from support.cli import SECONDS
from support.cluster_cli import RESTRICTED, SUCCEEDED, ClusterCli


@pytest.fixture
def run(cli: ClusterCli) -> dict[str, Any]:
    """A run that succeeded, with the Job that tells how its pods are made."""
    stored = cli.stored("ward")
    cli.write_status("ward", SUCCEEDED)
    cli.add_job(stored)
    return stored


@contextmanager
def fetching(cli: ClusterCli, to: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A fetch that waits for its pod, and that pod."""
    process = cli.start("fetch", "ward", "--to", to)
    try:
        wait_until("the pod", lambda: bool(cli.items("pods")) or process.poll() is not None)
        (pod,) = cli.items("pods")
        yield process, pod
    finally:
        process.kill()
        process.communicate()


def nothing_left(cli: ClusterCli, folder: Path) -> bool:
    return cli.items("pods") == [] and list(folder.iterdir()) == []


def test_its_pod_is_made_like_the_runs_own_and_sees_the_output_claim_alone(cli: ClusterCli, run: dict[str, Any], tmp_path: Path) -> None:
    with fetching(cli, tmp_path / "to") as (_, pod):
        spec = pod["spec"]
        (container,) = spec["containers"]
        assert [volume["persistentVolumeClaim"] for volume in spec["volumes"]] == [{"claimName": "results", "readOnly": True}]
        assert [mount["readOnly"] for mount in container["volumeMounts"]] == [True]
        job = cli.items("jobs")[0]["spec"]["template"]["spec"]
        assert (container["image"], spec["nodeSelector"]) == (job["containers"][0]["image"], job["nodeSelector"])
        assert spec["securityContext"] == RESTRICTED
        assert "nvidia.com/gpu" not in str(container["resources"])
        assert spec["activeDeadlineSeconds"] > 0
        assert pod["metadata"]["ownerReferences"][0]["uid"] == run["metadata"]["uid"]
        assert not any(label.startswith("medfinetune.io/run") for label in pod["metadata"]["labels"])  # the operator counts pods by these


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whoever_stops_it_finds_nothing_left(cli: ClusterCli, run: dict[str, Any], tmp_path: Path, stop: signal.Signals) -> None:
    with fetching(cli, tmp_path / "to") as (process, _):
        process.send_signal(stop)
        _, stderr = process.communicate(timeout=SECONDS)
        assert process.returncode not in (0, -stop)
        assert "Traceback" not in stderr
        assert nothing_left(cli, tmp_path)


def test_a_pod_that_cannot_start_is_given_up_and_deleted(cli: ClusterCli, run: dict[str, Any], tmp_path: Path) -> None:
    with fetching(cli, tmp_path / "to") as (process, pod):
        cli.play(pod["metadata"]["name"], "Pending", {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}, container="fetch")
        _, stderr = process.communicate(timeout=SECONDS)
        assert process.returncode == 2
        assert "not running: ImagePullBackOff (no such image)" in stderr
        assert nothing_left(cli, tmp_path)
    late = cli.json("fetch", "ward", "--to", tmp_path / "to", "--timeout", "1")
    assert (late["exitCode"], late["reason"]) == (2, "PodNotStarted")
    assert nothing_left(cli, tmp_path)


def test_a_pod_that_no_command_reaches_is_deleted(cli: ClusterCli, run: dict[str, Any], tmp_path: Path) -> None:
    with fetching(cli, tmp_path / "to") as (process, pod):
        cli.play(pod["metadata"]["name"], "Running", {"running": {}}, container="fetch")
        _, stderr = process.communicate(timeout=SECONDS)
        assert process.returncode == 1
        assert "does not have a host assigned" in stderr
        assert "Traceback" not in stderr
        assert nothing_left(cli, tmp_path)


def test_rights_are_asked_for_before_anything_is_made(cli: ClusterCli, run: dict[str, Any], tmp_path: Path) -> None:
    """Someone who has every right but one: it is the one that is named, by the API server's own decision."""
    cli.plane.kubectl("create", "serviceaccount", "reader", "-n", cli.namespace)
    subject = f"system:serviceaccount:{cli.namespace}:reader"
    kubeconfig = cli.plane.kubeconfig_for(subject, cli.namespace)
    run_rule = {"apiGroups": ["medfinetune.io"], "resources": ["medfinetunes"], "verbs": ["get"]}
    for left_out in (("delete", "pods", ""), ("get", "pods/exec", "")):
        rules = [{"apiGroups": [group], "resources": [resource], "verbs": [verb]} for verb, resource, group in RIGHTS if (verb, resource, group) != left_out]
        rights = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "reader"}}
        bound = {
            "roleRef": {"kind": "Role", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"},
            "subjects": [{"kind": "ServiceAccount", "name": "reader"}],
        }
        cli.plane.apply({**rights, "kind": "Role", "rules": [run_rule, *rules]}, {**rights, "kind": "RoleBinding", **bound}, namespace=cli.namespace)
        wait_until(
            "the role", lambda: cli.plane.kubectl("auth", "can-i", "get", "mft/ward", "-n", cli.namespace, check=False, kubeconfig=kubeconfig).returncode == 0
        )
        refused = cli.json("fetch", "ward", "--to", tmp_path / "to", kubeconfig=kubeconfig)
        assert (refused["exitCode"], refused["problems"][0]["where"]) == (2, f"{left_out[0]} {left_out[1]} in namespace {cli.namespace}")
    assert nothing_left(cli, tmp_path)


def test_nothing_is_overwritten_and_nothing_promised_that_is_not_there(cli: ClusterCli, run: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    refused = cli.json("fetch", "ward", "--to", tmp_path / "to")
    assert (refused["exitCode"], refused["problems"][0]["where"]) == (68, "--to")
    (tmp_path / "to").rmdir()
    cli.stored("fresh")
    assert cli.json("fetch", "fresh", "--to", tmp_path / "to")["problems"][0]["where"] == "adapter of fresh"
    assert "--image" in cli.json("fetch", "fresh", "--what", "metrics", "--to", tmp_path / "to")["problems"][0]["remedy"]
    (tmp_path / "file").touch()
    assert cli.json("fetch", "ward", "--to", tmp_path / "file" / "to")["exitCode"] == 70
    (tmp_path / "file").unlink()
    assert nothing_left(cli, tmp_path)


def test_without_jobs_an_image_is_enough(cli: ClusterCli, tmp_path: Path) -> None:
    """What a restricted namespace admits even where no Job tells how the pods are made."""
    cli.stored("ward")
    cli.write_status("ward", SUCCEEDED)
    refused = cli.json("fetch", "ward", "--image", "trainer", "--to", tmp_path / "to", "--timeout", "1")
    assert refused["reason"] == "PodNotStarted"
    assert nothing_left(cli, tmp_path)
