"""A person with nothing but `medfinetune`: a run submitted, followed, read, and its artifacts fetched through a pod, file by file those of the volume."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

import yaml
from e2e.cluster_access import SECONDS, Cluster
from e2e.runs import manifest
from e2e.storage import Volumes
from medfinetune_api.layout import UNFINISHED, WORKING
from support.cli import command


def environment(cluster: Cluster) -> dict[str, str]:
    return os.environ | {"KUBECONFIG": str(cluster.kubeconfig), "COLUMNS": "200"}


def medfinetune(cluster: Cluster, namespace: str, *arguments: str | Path) -> str:
    """Run it to its end and return its standard output. Raises AssertionError with its words where it fails."""
    done = subprocess.run(command(*arguments, "--namespace", namespace), env=environment(cluster), capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, f"medfinetune {' '.join(map(str, arguments))} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def contents(folder: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def of_rank(lines: list[str], label: str) -> list[str]:
    return [line.removeprefix(f"[{label}] ") for line in lines if line.startswith(f"[{label}] ")]


def test_a_person_follows_a_run_from_its_manifest_to_its_artifacts(operator: Cluster, volumes: Volumes, tmp_path: Path) -> None:
    namespace, file = volumes.namespace, tmp_path / "manifest.yaml"
    content = manifest("by-hand", epochs=3, checkpoint_every=5, tasks={"seen-en"}, retain=["Samples"])
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    medfinetune(operator, namespace, "submit", file)

    with (tmp_path / "logs").open("w+") as output:
        follow = command("logs", "by-hand", "--follow", "--namespace", namespace)
        following = subprocess.Popen(follow, env=environment(operator), stdout=output, stderr=subprocess.DEVNULL)
        try:
            shown = medfinetune(operator, namespace, "status", "by-hand", "--watch")
            assert following.wait(SECONDS) == 0
        finally:
            following.kill()
            following.wait()
        output.seek(0)
        lines = output.read().splitlines()
    assert "Succeeded" in shown
    assert "seen-en" in shown
    for label, pod in (
        ("prepare-a1 rank 0", "prepare-a1-0"),
        ("train-a1 rank 0", "train-a1-0"),
        ("train-a1 rank 1", "train-a1-1"),
        ("evaluate-a1 rank 0", "evaluate-a1-0"),
    ):
        (name,) = (each for each in operator.kubectl("get", "pods", "-o", "name", "-n", namespace).split() if f"by-hand-{pod}" in each)
        said = operator.kubectl("logs", name, "-n", namespace).splitlines()
        assert of_rank(lines, label) == said != []
    last = medfinetune(operator, namespace, "logs", "by-hand", "--stage", "train", "--attempt", "1", "--rank", "1", "--tail", "1")
    assert last.splitlines() == of_rank(lines, "train-a1 rank 1")[-1:]

    told = json.loads(medfinetune(operator, namespace, "fetch", "by-hand", "--what", "all", "--to", tmp_path / "fetched", "--output", "json"))
    volumes.copy("results", tmp_path / "volume")
    run = operator.get("medfinetune", "by-hand", namespace)
    there = contents(tmp_path / "volume" / run["status"]["artifacts"]["folder"])
    kept_back = (*WORKING.values(), *UNFINISHED)
    expected = {name: content for name, content in there.items() if not any(fnmatch(name, pattern) or name.startswith(f"{pattern}/") for pattern in kept_back)}
    assert any(fnmatch(name, "evaluation/samples_*.jsonl") for name in there)  # record text, retained on the volume: it must stay there
    assert contents(tmp_path / "fetched") == expected
    assert {one["path"] for one in told["files"]} == expected.keys() > {"adapter/adapter_model.safetensors", "evaluation/summary.json", "metrics.jsonl"}
    assert operator.items("pods", "medfinetune.io/fetch", namespace) == []
