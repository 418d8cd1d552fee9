"""What the operator builds of runs that tests describe in a line, and the pods that the cluster makes of it."""

from __future__ import annotations

from typing import Any

from medfinetune_api.choices import Stage
from medfinetune_api.status import Attempt
from medfinetune_operator.observation import Child
from medfinetune_operator.resources.children import child
from medfinetune_operator.run import Run, read_run
from medfinetune_operator.settings import Settings
from support.cluster_strategies import stored
from support.manifests import minimal_manifest

PLAIN = Settings(trainer_image="trainer:1")
NAMESPACE = "ward-1"


def attempt(stage: Stage, number: int = 1) -> Attempt:
    return Attempt.model_validate({"stage": stage, "number": number, "startTime": "2026-01-01T00:00:00Z"})


def run_of(evaluate_on_gang: bool = False, **spec: Any) -> Run:
    prepared = {"microBatch": 4, "totalSteps": 9, "evaluateOnGang": evaluate_on_gang}
    return read_run(stored(minimal_manifest(**spec), NAMESPACE, {"prepared": prepared}))


def pod_of(built: dict[str, Any], index: int = 0) -> dict[str, Any]:
    """The pod that the Job controller makes of the template."""
    template, at = built["spec"]["template"], {"batch.kubernetes.io/job-completion-index": str(index)}
    meta = {"name": f"{built['metadata']['name']}-{index}", "labels": template["metadata"]["labels"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta | {"annotations": template["metadata"].get("annotations", {}) | at},
        "spec": template["spec"],
    }


def environment_of(pod: dict[str, Any]) -> dict[str, str]:
    """The container's environment as the kubelet resolves it."""
    annotations = {f"metadata.annotations['{name}']": value for name, value in pod["metadata"]["annotations"].items()}
    variables = pod["spec"]["containers"][0]["env"]
    return {each["name"]: each["value"] if "value" in each else annotations[each["valueFrom"]["fieldRef"]["fieldPath"]] for each in variables}


def children(run: Run, given: Settings) -> dict[Child, dict[str, Any]]:
    """Every child that the run has."""
    assert run.spec is not None
    return {kind: child(kind, run, given) for kind in Child if kind is not Child.CLAIM or run.spec.output.volume.claim_template}
