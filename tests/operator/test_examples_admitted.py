"""Every example's manifest is what a real API server takes: a server-side dry run, strict about fields; Kueue's objects by Kueue's own schemas."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import kueue
from cluster.control_plane import ControlPlane
from cluster.processes import wait_until
from kubernetes.utils import parse_quantity
from medfinetune_api.choices import Stage
from medfinetune_operator.resources.job import job
from medfinetune_operator.run import read_run
from support.api import RUNS, Api
from support.built import PLAIN, attempt
from support.cluster_strategies import stored

EXAMPLES = Path(__file__).parents[2] / "examples"
MANIFESTS = sorted(path for path in EXAMPLES.glob("*/*.yaml") if "kind: MedFineTune" in path.read_text(encoding="utf-8"))
QUEUED = EXAMPLES / "06-kueue"
WARD: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ward"}}


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_it_is_admitted(control_plane: ControlPlane, path: Path) -> None:
    manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    made = Api(control_plane).send("POST", f"{RUNS}/namespaces/default/medfinetunes?dryRun=All&fieldValidation=Strict", manifest)
    assert made["metadata"]["name"] == manifest["metadata"]["name"]
    assert made["spec"].keys() >= manifest["spec"].keys()


def test_kueue_takes_the_queue(control_plane: ControlPlane) -> None:
    control_plane.apply(WARD, *kueue.definitions())
    kinds = ",".join(f"{kind}.kueue.x-k8s.io" for kind in kueue.KINDS)
    wait_until("Kueue's kinds to be served", lambda: control_plane.kubectl("get", kinds, check=False).returncode == 0)
    queue = (QUEUED / "queue.yaml").read_text(encoding="utf-8")
    older = queue.replace("/v1beta2", "/v1beta1")
    for text, refusal in (
        (queue, ""),
        (older.replace("cohortName:", "cohort:"), ""),  # what the example says of a Kueue before 0.15
        (older, ".spec.cohortName: field not declared in schema"),
        (queue.replace("[cpu, memory, ", "[cpu, "), "flavors must have the same number of resources as the coveredResources"),
    ):
        told = control_plane.kubectl("apply", "--server-side", "--dry-run=server", "--namespace", "ward", "-f", "-", input=text, check=False)
        assert refusal in told.stderr
        assert (told.returncode == 0) is (not refusal), told.stderr


def test_each_job_of_the_queued_run_fits_the_wards_share() -> None:
    """Kueue never admits what asks for more than its queue has, or for what the queue does not cover; it reads requests, and limits where there are none."""
    _, shared, local = yaml.safe_load_all((QUEUED / "queue.yaml").read_text(encoding="utf-8"))
    (group,) = shared["spec"]["resourceGroups"]
    quota = {each["name"]: parse_quantity(each["nominalQuota"]) for each in group["flavors"][0]["resources"]}
    assert list(quota) == group["coveredResources"]
    manifest = yaml.safe_load((QUEUED / "manifest.yaml").read_text(encoding="utf-8"))
    run = read_run(stored(manifest, "ward", {"prepared": {"microBatch": 1, "totalSteps": 9, "evaluateOnGang": True}}))
    wanted: set[str] = set()
    for stage in Stage:
        built = job(run, attempt(stage), PLAIN)
        assert built["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == local["metadata"]["name"]
        asked = _asked(built)
        assert {name: amount for name, amount in asked.items() if amount > quota.get(name, 0)} == {}, stage
        wanted |= asked.keys()
    assert local["spec"]["clusterQueue"] == shared["metadata"]["name"]
    assert wanted == quota.keys()


def _asked(built: dict[str, Any]) -> dict[str, Decimal]:
    (container,) = built["spec"]["template"]["spec"]["containers"]
    resources = container["resources"]
    each = {**resources.get("limits", {}), **resources.get("requests", {})}
    return {name: parse_quantity(amount) * built["spec"]["parallelism"] for name, amount in each.items()}
