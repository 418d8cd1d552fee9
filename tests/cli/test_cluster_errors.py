"""What goes wrong between a person and a cluster, each provoked for real, is said in sentences with what to do, and never as a stack trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster.control_plane import ControlPlane
from cluster.credentials import VISITOR
from cluster.processes import free_port
from support.cluster_cli import ClusterCli


def changed(kubeconfig: Path, folder: Path, kind: str, **values: Any) -> Path:
    """A copy of a kubeconfig with parts of its one cluster, user or context replaced."""
    content = json.loads(kubeconfig.read_text())
    content[f"{kind}s"][0][kind] = {name: value for name, value in (content[f"{kind}s"][0][kind] | values).items() if value is not None}
    path = folder / "changed.kubeconfig"
    path.write_text(json.dumps(content))
    return path


def refusal(cli: ClusterCli, *arguments: str | Path, kubeconfig: Path | None = None) -> tuple[int, dict[str, str]]:
    done = cli.run(*arguments, "--output", "json", kubeconfig=kubeconfig)
    return done.returncode, json.loads(done.stdout)["problems"][0]


def test_an_api_server_that_is_down_is_named_with_its_address(cli: ClusterCli, tmp_path: Path) -> None:
    address = f"https://127.0.0.1:{free_port()}"
    code, problem = refusal(cli, "status", kubeconfig=changed(cli.kubeconfig, tmp_path, "cluster", server=address))
    assert (code, problem["reason"], problem["found"]) == (1, "Unreachable", "a refused connection")
    assert problem["where"] == f"the API server {address}"


def test_a_certificate_of_another_authority_is_no_secure_connection(cli: ClusterCli, tmp_path: Path) -> None:
    plain = changed(cli.kubeconfig, tmp_path, "cluster", **{"certificate-authority": None})
    code, problem = refusal(cli, "status", kubeconfig=plain)
    assert (code, problem["reason"]) == (1, "Unreachable")
    assert "no secure connection" in problem["found"]


def test_credentials_that_are_no_longer_valid_ask_for_a_new_login(cli: ClusterCli, tmp_path: Path) -> None:
    code, problem = refusal(cli, "status", kubeconfig=changed(cli.kubeconfig, tmp_path, "user", token="expired"))
    assert (code, problem["reason"]) == (2, "Unauthenticated")
    assert "log in" in problem["remedy"]


VERBS = [
    (("status",), "list medfinetunes.medfinetune.io"),
    (("status", "ward"), "get medfinetunes.medfinetune.io"),
    (("logs", "ward"), "get medfinetunes.medfinetune.io"),
    (("cancel", "ward", "--yes"), "get medfinetunes.medfinetune.io"),
    (("fetch", "ward"), "get medfinetunes.medfinetune.io"),
]


@pytest.mark.parametrize(("verb", "right"), VERBS, ids=lambda each: "-".join(each) if isinstance(each, tuple) else "")
def test_a_right_that_is_missing_is_named_with_verb_resource_and_namespace(cli: ClusterCli, verb: tuple[str, ...], right: str) -> None:
    code, problem = refusal(cli, *verb, kubeconfig=cli.plane.kubeconfig_for(VISITOR, cli.namespace))
    assert (code, problem["reason"]) == (2, "Forbidden")
    assert problem["where"] == f"{right} in namespace {cli.namespace}"
    assert VISITOR in problem["found"]


def test_a_run_that_does_not_exist_brings_up_the_nearest_name(cli: ClusterCli) -> None:
    assert refusal(cli, "status", "ward-assistant")[1]["found"] == "no run at all"
    cli.stored("ward-assistant")
    for verb in (("status", "ward-asistant"), ("suspend", "ward-asistant"), ("logs", "ward-asistant")):
        code, problem = refusal(cli, *verb)
        assert (code, problem["reason"], problem["remedy"]) == (2, "NotFound", "Did you mean ward-assistant?")


def test_a_namespace_that_does_not_exist_is_named(cli: ClusterCli, tmp_path: Path) -> None:
    code, problem = refusal(cli, "submit", cli.written(tmp_path), "--namespace", "nowhere")
    assert (code, problem["where"]) == (2, "namespace nowhere")


def test_what_the_api_server_refuses_is_said_field_by_field_in_its_words(cli: ClusterCli, tmp_path: Path) -> None:
    cli.stored("ward", runPolicy={"cancel": True})
    code, problem = refusal(cli, "submit", cli.written(tmp_path, runPolicy={"cancel": False}))
    assert (code, problem["where"]) == (64, "spec.runPolicy.cancel")
    assert "a cancelled run has ended" in problem["expected"]


def test_a_kubeconfig_that_leads_nowhere_is_named(cli: ClusterCli, tmp_path: Path) -> None:
    code, problem = refusal(cli, "status", "--kubeconfig", tmp_path / "none")
    assert (code, problem["reason"], problem["where"]) == (2, "NotConfigured", f"kubeconfig {tmp_path / 'none'}")
    code, problem = refusal(cli, "status", "--context", "elsewhere")
    assert (code, problem["found"], problem["expected"]) == (2, "no context named elsewhere", "one of test")
    assert problem["expected"] == "one of test"


@pytest.mark.parametrize("damage", ["cut", "no server"])
def test_a_damaged_kubeconfig_is_not_quoted(cli: ClusterCli, tmp_path: Path, damage: str) -> None:
    secret = cli.plane.token
    damaged = changed(cli.kubeconfig, tmp_path, "cluster", server=None)
    if damage == "cut":
        damaged.write_text(cli.kubeconfig.read_text().rpartition("]")[0])
    done = cli.run("status", "--kubeconfig", damaged)
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, f"error kubeconfig {damaged}")
    assert secret not in done.stderr + done.stdout


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path / "bare", crd=False, controllers=False) as plane:
        yield plane


def test_a_cluster_without_the_resource_says_what_to_install(bare: ControlPlane, tmp_path: Path) -> None:
    cli = ClusterCli(bare, "default")
    for verb in (("status",), ("status", "ward"), ("submit", cli.written(tmp_path))):
        code, problem = refusal(cli, *verb)
        assert (code, problem["reason"]) == (2, "NotInstalled")
        assert "CustomResourceDefinition" in problem["expected"]


def test_a_person_reads_the_same_sentence(cli: ClusterCli) -> None:
    done = cli.run("status", "ward", kubeconfig=cli.plane.kubeconfig_for(VISITOR, cli.namespace))
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == f"error get medfinetunes.medfinetune.io in namespace {cli.namespace}"
    assert "Ask an administrator of the cluster for a role with verb get on medfinetunes.medfinetune.io" in done.stderr
