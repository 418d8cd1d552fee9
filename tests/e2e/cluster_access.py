"""What the tests know of a cluster, be it a node of their own or one that exists already: a kubeconfig, the images in it, and where volumes come from."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.programs import program

SECONDS = 1200
"""Bound of every wait: far above what anything here takes, so that only a defect reaches it."""

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"}
"""The label of a namespace that admits no pod with more rights than it needs."""


@dataclass(frozen=True)
class Cluster:
    """One cluster. Volumes are folders below `volumes` on the node of that name, or, where `volumes` is None, come from `storage_class`.

    `folder` takes what kubectl keeps: by address, so that under a person's home the next test's server would inherit it.
    """

    folder: Path
    kubeconfig: Path
    trainer_image: str
    operator_image: str
    trainer_cpu_image: str
    node: str = ""
    volumes: Path | None = None
    storage_class: str = ""
    names_asked: Path | None = None
    """Log of the name server, a line `asked NAME` a query; None where the cluster's own is not at hand."""
    registry: str = ""
    """Address from here of the registry that a node of ours knows as localhost:5000."""

    def seen_from_here(self, image: str) -> str:
        """Where skopeo finds the image that pods have under that name."""
        return f"docker://{image.replace('localhost:5000', self.registry)}" if self.registry else f"docker://{image}"

    def kubectl(self, *arguments: str | Path, input: str = "", check: bool = True) -> str:
        """Run kubectl as the administrator and return its standard output. Raises AssertionError with its words where it fails and `check` is set."""
        return self._kubectl(arguments, input.encode(), check).decode()

    def helm(self, *arguments: str | Path, values: Mapping[str, Any] | None = None, check: bool = True) -> str:
        """Run helm as the administrator, `values` by its standard input, and return its standard output. Raises AssertionError as `kubectl` does."""
        given = ["--values=-"] if values is not None else []
        return self._program("helm", [*arguments, *given], json.dumps(values).encode(), check).decode()

    def execute(self, namespace: str, pod: str, command: Sequence[str], input: bytes = b"") -> bytes:
        """Run a command in a pod and return its standard output. Raises AssertionError with its words where it fails."""
        return self._kubectl(["exec", "--stdin", "--namespace", namespace, pod, "--", *command], input, check=True)

    def _kubectl(self, arguments: Sequence[str | Path], input: bytes, check: bool) -> bytes:
        return self._program("kubectl", arguments, input, check)

    def _program(self, name: str, arguments: Sequence[str | Path], input: bytes, check: bool) -> bytes:
        homes = {"KUBECACHEDIR": str(self.folder / "kubectl"), "HELM_CACHE_HOME": str(self.folder / "helm"), "HELM_CONFIG_HOME": str(self.folder / "helm")}
        environment = os.environ | homes | {"KUBECONFIG": str(self.kubeconfig), "KUBERC": "off"}
        done = subprocess.run([program(name), *arguments], input=input, env=environment, capture_output=True, timeout=SECONDS, check=False)
        words = f"{name} {' '.join(map(str, arguments))} ended with {done.returncode}\n{done.stderr.decode(errors='replace')}"
        assert not check or done.returncode == 0, words
        return done.stdout

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        """The object as the API server has it."""
        answer: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "--namespace", namespace, "--output=json"))
        return answer

    def items(self, kind: str, selector: str, namespace: str) -> list[dict[str, Any]]:
        """The objects of that kind that have these labels."""
        answer: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, f"--selector={selector}", "--namespace", namespace, "--output=json"))["items"]
        return answer

    def apply(self, *objects: Mapping[str, Any], namespace: str = "") -> None:
        """Apply objects on the server's side, in that namespace or the one that each names; an unknown field is an error."""
        text = "\n---\n".join(json.dumps(each) for each in objects)
        self.kubectl("apply", "--server-side", "--validate=strict", *([f"--namespace={namespace}"] if namespace else []), "-f", "-", input=text)

    def wait(self, condition: str, what: str, namespace: str) -> None:
        """Return once `what` (kind/name) has the condition."""
        self.kubectl("wait", f"--for={condition}", what, "--namespace", namespace, f"--timeout={SECONDS}s")

    @contextmanager
    def namespace(self) -> Iterator[str]:
        """A namespace of its own that enforces the restricted pod-security level, deleted with all that is in it."""
        name = f"e2e-{secrets.token_hex(4)}"
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}})
        self.wait("create", "serviceaccount/default", name)
        try:
            yield name
        finally:
            self.kubectl("delete", "namespace", name, f"--timeout={SECONDS}s", check=False)
