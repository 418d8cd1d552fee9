"""`medfinetune logs` as far as an API server without nodes can show it: which pods are meant, and why there is nothing to read. The rest: tests/e2e."""

from __future__ import annotations

import pytest
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason, ConditionStatus, ConditionType
from medfinetune_cli.cluster_client import Place, connect
from medfinetune_cli.log_pods import Wanted, pods_of
from medfinetune_cli.run_state import RunState
from support.cluster_cli import TRAINING, ClusterCli, condition


def test_without_pods_it_says_what_the_run_waits_for(cli: ClusterCli) -> None:
    cli.stored("ward")
    refused = cli.run("logs", "ward")
    assert refused.returncode == 2
    assert "no pods yet: the run waits for the operator" in refused.stderr
    waiting = condition(ConditionType.PREPARED, ConditionStatus.FALSE, ConditionReason.CLAIM_MISSING, "Claim datasets does not exist.")
    cli.write_status("ward", {"phase": "Pending", "stage": "prepare", "conditions": [waiting]})
    assert "Claim datasets does not exist." in cli.run("logs", "ward").stderr


SELECTIONS = [
    (Wanted(), ["train-a2-0", "train-a2-1"]),
    (Wanted(rank=1), ["train-a2-1"]),
    (Wanted(stage=Stage.PREPARE), ["prepare-a1-0"]),
    (Wanted(stage=Stage.TRAIN, attempt=1), ["train-a1-0", "train-a1-1"]),
    (Wanted(stage=Stage.PURGE), ["purge-a1-0"]),
    (Wanted(stage=Stage.EVALUATE), []),
]


def test_the_pods_of_the_newest_attempt_are_meant_unless_others_are_named(cli: ClusterCli) -> None:
    run = cli.stored("ward")
    cli.write_status("ward", TRAINING)
    for stage, attempt, rank in (("train", 2, 1), ("train", 2, 0), ("purge", 1, 0), ("train", 1, 1), ("train", 1, 0), ("prepare", 1, 0)):
        cli.add_pod(run, stage, attempt, rank)
    cli.add_pod(cli.stored("other"), "train", 9, 0)
    cluster = connect(Place(cli.kubeconfig))
    state = RunState.of(cluster.run("ward"))
    for wanted, expected in SELECTIONS:
        assert [pod.name.removeprefix("ward-") for pod in pods_of(cluster, state, wanted)] == expected


@pytest.mark.parametrize("follow", [(), ("--follow",)], ids=["once", "follow"])
def test_a_node_that_cannot_be_asked_is_said_to_be_one(cli: ClusterCli, follow: tuple[str, ...]) -> None:
    run = cli.stored("ward")
    cli.write_status("ward", TRAINING)
    cli.plane.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "away"}})
    for rank in (0, 1):
        cli.add_pod(run, "train", 2, rank, node="away", running=rank == 0)
    refused = cli.run("logs", "ward", "--rank", "1")
    assert "containers that have not started, in 1 of 1 pods" in refused.stderr
    refused = cli.run("logs", "ward", *follow)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error log of pod ward-train-a2-0\n")
