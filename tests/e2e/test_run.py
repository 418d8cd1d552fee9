"""The product on a cluster, whole: `kubectl apply` of a manifest ends in an adapter on a volume, also when a pod dies on the way.

Every namespace here enforces the restricted pod-security level, and the operator runs with its own service account's rights and no more.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from cluster.processes import wait_until
from e2e.cluster_access import SECONDS, Cluster
from e2e.runs import BASE, example, manifest, submit
from e2e.storage import Volumes
from medfinetune_api.results_evaluation import EvaluationSummary
from peft import PeftModel
from transformers import AutoModelForCausalLM

EVERY = 5
"""Steps between two checkpoints."""
GANG = r"[a-z0-9-]+-train-a\d+-0(\.[a-z0-9-]+-[0-9a-f]{8})?"
SERVICES = r"kubernetes(\.default(\.svc)?)?|medfinetune-operator(\.medfinetune-system(\.svc)?)?|gang-0(\.gang)?"
OURS = rf"{GANG}|{SERVICES}|[0-9.]+\.in-addr\.arpa"
"""Names that a pod has reason to ask for: its gang's first pod, the API server, the operator (the chart's test)."""


def test_the_minimal_example_goes_from_apply_to_succeeded(operator: Cluster, volumes: Volumes, models: Path, tmp_path: Path) -> None:
    """On two nodes' pods, without a route to anywhere: what was trained on is learned, and no public name was asked for."""
    content = example("01")
    tasks = {task["name"] for task in content["spec"]["evaluation"]["tasks"]}
    run = submit(operator, volumes.namespace, content)
    run.wait_until_ended()

    status = run.status()
    assert status["phase"] == "Succeeded"
    assert [(attempt["stage"], attempt["number"], attempt["reason"]) for attempt in status["attempts"] if attempt["stage"] != "purge"] == [
        ("prepare", 1, "Succeeded"),
        ("train", 1, "Succeeded"),
        ("evaluate", 1, "Succeeded"),
    ]
    volumes.copy("results", tmp_path)
    folder = tmp_path / status["artifacts"]["folder"]
    summary = EvaluationSummary.model_validate_json((folder / "evaluation" / "summary.json").read_bytes())
    assert {task.task for task in summary.tasks} == {result["task"] for result in status["results"]} == tasks
    assert {task.task: task.tuned.accuracy for task in summary.tasks if task.task.startswith("seen-")} == {"seen-en": 1.0, "seen-ko": 1.0}
    assert_changes_the_base(models / BASE, folder / status["artifacts"]["adapter"])
    assert_asks_for_no_public_name(operator)


def test_a_run_whose_rank_is_killed_continues_from_its_checkpoint(operator: Cluster, volumes: Volumes) -> None:
    run = submit(operator, volumes.namespace, manifest("killed", epochs=6, checkpoint_every=EVERY, tasks={"unseen-en"}))
    pattern = "killed-*/checkpoints/step-*/manifest.json"
    wait_until("the first checkpoint", lambda: bool(volumes.find("results", pattern)), SECONDS, run.evidence)
    # Every process of the second rank's pod but its first, by SIGKILL, as the kernel kills where memory ends: no time for a checkpoint of its own.
    victim = run.pods("train")[1]["metadata"]["name"]
    operator.kubectl("exec", "--namespace", volumes.namespace, victim, "--", "sh", "-c", "kill -KILL -1", check=False)
    run.wait_until_ended()

    first, second = run.attempts("train")
    assert (first["number"], first["charged"], second["number"], second["reason"]) == (1, True, 2, "Succeeded")
    assert second["resumeStep"] > 0
    assert second["resumeStep"] % EVERY == 0


def assert_asks_for_no_public_name(cluster: Cluster) -> None:
    """By the name server's log, where the name server is ours. A pod's resolver tries a name below each domain of its search list, too."""
    if cluster.names_asked is None:
        return
    asked = set(re.findall(r"asked (\S+)\.$", cluster.names_asked.read_text(), re.MULTILINE))
    bare = {re.sub(r"(\.[^.]+\.svc|\.svc)?\.cluster\.local$", "", name) for name in asked}
    assert any(re.fullmatch(GANG, name) for name in bare), sorted(asked)
    assert [name for name in bare if not re.fullmatch(OURS, name)] == []


def assert_changes_the_base(base: Path, adapter: Path) -> None:
    """The adapter loads over the base, by PEFT alone, and the two answer differently."""
    tokens = torch.arange(10, 30).unsqueeze(0)
    model = AutoModelForCausalLM.from_pretrained(base)
    untuned = model(tokens).logits
    tuned = PeftModel.from_pretrained(model, adapter)(tokens).logits
    assert torch.isfinite(tuned).all()
    assert not torch.allclose(tuned, untuned)
