"""A tiny run on the cluster: the minimal example's manifest made shorter, and what is seen of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tiny_base
import yaml
from cluster.processes import wait_until
from e2e import deployment
from e2e.cluster_access import SECONDS, Cluster

EXAMPLE = Path(__file__).parents[2] / "examples" / "01-minimal"
BASE = "tiny-gemma3"
"""The base's folder on the models volume, as the example's manifest names it."""


def build_models(folder: Path) -> Path:
    """What the models volume holds: the example's tiny base, its tokenizer trained on the example's texts."""
    texts = (line for path in sorted((EXAMPLE / "data").glob("*/train.*")) for line in path.read_text(encoding="utf-8").splitlines())
    tiny_base.build(folder / BASE, texts, kind="gemma3")
    return folder


def example(number: str) -> dict[str, Any]:
    """An example's manifest as it stands, but that its two pods share the node's processors: threads that wait for each other there would take minutes."""
    (folder,) = EXAMPLE.parent.glob(f"{number}-*")
    content: dict[str, Any] = yaml.safe_load((folder / "manifest.yaml").read_text(encoding="utf-8"))
    content["spec"]["pods"] = {"env": [{"name": "OMP_NUM_THREADS", "value": "1"}]}
    return content


def manifest(
    name: str, *, epochs: int, checkpoint_every: int, tasks: Iterable[str], retain: Iterable[str] = (), number: str = "01", gates: Iterable[str] = ()
) -> dict[str, Any]:
    """An example's manifest under that name, made shorter: of its tasks and gates only these."""
    content = example(number)
    content["metadata"]["name"] = name
    spec = content["spec"]
    spec["evaluation"]["gates"] = [gate for gate in spec["evaluation"].get("gates", ()) if gate["name"] in gates]
    spec["training"]["epochs"] = epochs
    spec["checkpoint"] = {"everySteps": checkpoint_every, "keep": 2}
    spec["evaluation"]["tasks"] = [task for task in spec["evaluation"]["tasks"] if task["name"] in tasks]
    spec["output"]["retain"] = list(retain)
    return content


@dataclass(frozen=True)
class RunOnCluster:
    """A run by its name."""

    cluster: Cluster
    namespace: str
    name: str

    def status(self) -> dict[str, Any]:
        """Its status as the API server has it."""
        status: dict[str, Any] = self.cluster.get("medfinetune", self.name, self.namespace).get("status", {})
        return status

    def conditions(self) -> dict[str, str]:
        """Status by condition type."""
        return {each["type"]: each["status"] for each in self.status().get("conditions", [])}

    def attempts(self, stage: str) -> list[dict[str, Any]]:
        """The tries of one stage, oldest first."""
        return [each for each in self.status().get("attempts", []) if each["stage"] == stage]

    def pods(self, stage: str) -> list[dict[str, Any]]:
        """The stage's pods, by rank."""
        pods = self.cluster.items("pods", f"medfinetune.io/run={self.name},medfinetune.io/stage={stage}", self.namespace)
        return sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))

    def wait_until_ended(self) -> None:
        """Return once it has succeeded. Raises AssertionError with all that the cluster knows of it where it fails, or the time is over."""
        wait_until(f"the end of run {self.name}", self._ended, SECONDS, self.evidence)
        assert self.conditions()["Succeeded"] == "True", self.evidence()

    def wait_for_phase(self, phase: str) -> None:
        """Return once it is in that phase. Raises AssertionError with all that the cluster knows of it where the time is over."""
        wait_until(f"phase {phase} of run {self.name}", lambda: self.status().get("phase") == phase, SECONDS, self.evidence)

    def evidence(self) -> str:
        """What whoever looks for a defect needs: the run, its pods, what they and the operator wrote."""
        here = partial(self.cluster.kubectl, "--namespace", self.namespace, check=False)
        return "\n".join(
            [
                here("get", "medfinetune", self.name, "--output=yaml"),
                here("get", "pods,jobs,events"),
                here("logs", f"--selector=medfinetune.io/run={self.name}", "--prefix", "--tail=40"),
                deployment.logs(self.cluster),
            ]
        )

    def _ended(self) -> bool:
        conditions = self.conditions()
        return "True" in (conditions.get("Succeeded"), conditions.get("Failed"))


def submit(cluster: Cluster, namespace: str, content: dict[str, Any]) -> RunOnCluster:
    """`kubectl apply` it."""
    cluster.kubectl("apply", "--validate=strict", "--namespace", namespace, "-f", "-", input=yaml.safe_dump(content))
    return RunOnCluster(cluster, namespace, content["metadata"]["name"])
