"""The Helm chart, rendered and installed by the real helm."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from cluster.control_plane import ControlPlane
from cluster.credentials import ADMIN
from cluster.processes import SECONDS
from cluster.programs import VERSION, program
from medfinetune_operator.settings import Settings

CHART = Path(__file__).parents[2] / "charts" / "medfinetune"
RELEASE, NAMESPACE = "medfinetune", "medfinetune-system"
Manifest = dict[str, Any]
SITES: Mapping[str, Mapping[str, Any]] = {
    "defaults": {},
    **{path.name.removesuffix("-values.yaml"): yaml.safe_load(path.read_text()) for path in sorted((CHART / "ci").glob("*-values.yaml"))},
    **{path.parent.name: yaml.safe_load(path.read_text()) for path in sorted((CHART.parents[1] / "examples").glob("*/values.yaml"))},
}
"""Values of each kind of site, the examples' among them."""


class HelmError(Exception):
    """helm ended with an error, whose words this is."""


def render(
    values: Mapping[str, Any] | None = None,
    release: str = RELEASE,
    namespace: str = NAMESPACE,
    kube_version: str = VERSION,
    api_versions: Sequence[str] = (),
) -> list[Manifest]:
    """Every object of the chart with `values`, the pods of `helm test` among them. Raises HelmError with helm's words."""
    served = [f"--api-versions={each}" for each in api_versions]
    text = helm("template", release, CHART, "--namespace", namespace, "--kube-version", kube_version, *served, values=values)
    return [manifest for manifest in yaml.load_all(text, yaml.CSafeLoader) if manifest]


@cache
def site(name: str) -> list[Manifest]:
    """What is rendered for one of SITES; not to be changed."""
    return render(SITES[name])


def pods(manifests: Sequence[Manifest]) -> list[Manifest]:
    """Metadata and spec of every pod: the operator's, and that of `helm test`."""
    return [only(manifests, "Deployment")["spec"]["template"], only(manifests, "Pod")]


def settings(manifests: Sequence[Manifest]) -> Settings:
    """What the operator reads from the ConfigMap that its pod mounts."""
    (name,) = [volume["configMap"]["name"] for volume in pods(manifests)[0]["spec"]["volumes"] if "configMap" in volume]
    return Settings.model_validate(yaml.safe_load(only(manifests, "ConfigMap", name)["data"]["settings.yaml"]))


def helm(*arguments: str | Path, values: Mapping[str, Any] | None = None, kubeconfig: Path | None = None) -> str:
    """What helm prints. Raises HelmError. Of `values`, None takes a default away, as null does in a file."""
    given = [] if values is None else ["--values", "-"]
    # Neither the caller's cluster nor their settings.
    own = {"KUBECONFIG": str(kubeconfig or os.devnull), "NO_PROXY": "*"}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HELM_")}
    command = [program("helm"), *arguments, *given]
    done = subprocess.run(command, input=json.dumps(values or {}), env=inherited | own, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise HelmError(done.stderr)
    return done.stdout


def only(manifests: Sequence[Manifest], kind: str, name: str | None = None) -> Manifest:
    """The one object of its kind, and where it is given of its name."""
    (found,) = [each for each in manifests if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    return found


class Installed:
    """The chart as a release of `cluster`, in the hands of `user`."""

    def __init__(self, cluster: ControlPlane, release: str = RELEASE, namespace: str = NAMESPACE, user: str = ADMIN) -> None:
        self.release, self.namespace, self._kubeconfig = release, namespace, cluster.kubeconfig_for(user)

    def helm(self, verb: str, *arguments: str | Path, values: Mapping[str, Any] | None = None) -> str:
        """`helm VERB RELEASE` in the release's namespace. Raises HelmError."""
        return helm(verb, self.release, *arguments, "--namespace", self.namespace, values=values, kubeconfig=self._kubeconfig)

    def install(self, **values: Any) -> str:
        """Install the chart; what helm prints, NOTES.txt at its end. Nothing is waited for: where no node is, no pod gets ready."""
        return self.helm("install", CHART, values=values)

    def upgrade(self, **values: Any) -> str:
        """Upgrade to the chart with exactly these values."""
        return self.helm("upgrade", CHART, "--reset-values", values=values)
