"""The one client of the command line: MedFineTunes, their Jobs and pods, by a person's kubeconfig. JSON in and out; every failure is a Refusal.

Kubernetes' client takes its time to import, so it is imported where a cluster is first asked for.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfinetune_cli.cluster_errors import NotConfigured, NotFound, api_errors

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

TIMEOUT = (5, 30)
"""Seconds to connect, and between two parts of an answer."""
MERGE = "application/merge-patch+json"
Object = dict[str, Any]
"""A Kubernetes object as JSON."""


@dataclass(frozen=True)
class Place:
    """Which cluster and namespace, as kubectl's options of the same names say it."""

    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str | None = None


class Cluster:
    """One namespace of one cluster."""

    def __init__(self, api: ApiClient, namespace: str) -> None:
        from kubernetes import client

        self.namespace, self.server = namespace, str(api.configuration.host)
        self.core, self._batch = client.CoreV1Api(api), client.BatchV1Api(api)
        self._custom, self._reviews = client.CustomObjectsApi(api), client.AuthorizationV1Api(api)
        self._identities = client.AuthenticationV1Api(api)

    def runs(self) -> list[Object]:
        """Every MedFineTune of the namespace, oldest first."""
        found = self._ask(self._custom.list_namespaced_custom_object, *self._where())["items"]
        return sorted(found, key=lambda run: (run["metadata"]["creationTimestamp"], run["metadata"]["name"]))

    def run(self, name: str) -> Object:
        """One MedFineTune. Raises NotFound with the nearest name there is."""
        try:
            return self._ask(self._custom.get_namespaced_custom_object, *self._where(), name)
        except NotFound:
            raise self._no_such_run(name) from None

    def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Create a MedFineTune, unknown fields refused. Raises Conflict where one of that name exists."""
        options = {"field_validation": "Strict"} | ({"dry_run": "All"} if dry_run else {})
        return self._ask(self._custom.create_namespaced_custom_object, *self._where(), dict(manifest), **options)

    def set_policy(self, name: str, changes: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Change fields of spec.runPolicy, a None removes; the run as it is now."""
        body = {"spec": {"runPolicy": dict(changes)}}
        options = {"field_validation": "Strict"} | ({"dry_run": "All"} if dry_run else {})
        return self._ask(self._custom.patch_namespaced_custom_object, *self._where(), name, body, _content_type=MERGE, **options)

    def pods(self, selector: str) -> list[Object]:
        """Pods with these labels."""
        found: list[Object] = self._ask(self.core.list_namespaced_pod, self.namespace, label_selector=selector)["items"]
        return found

    def jobs(self, selector: str) -> list[Object]:
        """Jobs with these labels, oldest first."""
        found = self._ask(self._batch.list_namespaced_job, self.namespace, label_selector=selector)["items"]
        return sorted(found, key=lambda job: str(job["metadata"]["creationTimestamp"]))

    def pod(self, name: str) -> Object:
        """One pod."""
        return self._ask(self.core.read_namespaced_pod, name, self.namespace)

    def create_pod(self, manifest: Mapping[str, Any]) -> Object:
        """Create a pod, unknown fields refused."""
        return self._ask(self.core.create_namespaced_pod, self.namespace, dict(manifest), field_validation="Strict")

    def delete_pod(self, name: str) -> None:
        """Delete a pod at once; one that is gone already is well."""
        try:
            self._ask(self.core.delete_namespaced_pod, name, self.namespace, grace_period_seconds=0)
        except NotFound:
            return

    def may(self, verb: str, resource: str, group: str = "") -> bool:
        """Whether the caller has a right in the namespace; `resource` may name a subresource, as in `pods/exec`."""
        kind, _, part = resource.partition("/")
        asked = {"namespace": self.namespace, "verb": verb, "resource": kind, "subresource": part, "group": group}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": asked}}
        return bool(self._ask(self._reviews.create_self_subject_access_review, review)["status"]["allowed"])

    def caller(self) -> str:
        """Name of the user as whom the API server knows the caller, by SelfSubjectReview. Raises ClusterRefusal where it does not say (before 1.28)."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        return str(self._ask(self._identities.create_self_subject_review, review)["status"]["userInfo"]["username"])

    def _ask(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Object:
        with api_errors(self.server):
            answer: Object = json.loads(call(*arguments, _preload_content=False, _request_timeout=TIMEOUT, **options).data)
            return answer

    def _where(self) -> tuple[str, str, str, str]:
        from medfinetune_api.schema import GROUP, PLURAL, VERSION

        return GROUP, VERSION, self.namespace, PLURAL

    def _no_such_run(self, name: str) -> NotFound:
        names = [run["metadata"]["name"] for run in self.runs()]
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
        remedy = f"Did you mean {close[0]}?" if close else "List what there is: medfinetune status; other namespaces by --namespace."
        found = f"no such run among {len(names)}" if names else "no run at all"
        return NotFound(f"run {name} in namespace {self.namespace}", found=found, expected="the name of a run", remedy=remedy)


def connect(place: Place, namespace: str | None = None) -> Cluster:
    """The cluster that `place` names. `namespace` counts where `place` has none; without either, that of the context, or `default`.

    Raises NotConfigured where the kubeconfig cannot be used. Nothing is asked of the cluster yet.
    """
    from kubernetes import client, config
    from kubernetes.config.config_exception import ConfigException
    from yaml import YAMLError

    settings, file = client.Configuration(), str(place.kubeconfig) if place.kubeconfig else None
    settings.retries = False  # a person sees at once that nobody answers, and asks again
    try:
        contexts, active = config.list_kube_config_contexts(file)
        chosen = _context(contexts, active, place.context)
        config.load_kube_config(file, chosen["name"], settings, persist_config=False)
        if not settings.host:
            raise ConfigException("Expected key server")
    except (ConfigException, YAMLError, OSError, TypeError, AttributeError) as error:
        raise _not_configured(file, error) from None
    return Cluster(client.ApiClient(settings), place.namespace or namespace or chosen["context"].get("namespace") or "default")


def _context(contexts: list[Object], active: Object, wanted: str | None) -> Object:
    named = {context["name"]: context for context in contexts}
    if wanted is None or wanted in named:
        return named[wanted] if wanted else active
    known = ", ".join(sorted(named))
    raise NotConfigured("--context", found=f"no context named {wanted}", expected=f"one of {known}", remedy="Name one of them.")


def _not_configured(file: str | None, error: Exception) -> NotConfigured:
    """Of the client's words only the name of a missing key: the rest quotes the file, which holds credentials."""
    from kubernetes.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION

    missing = re.search(r"No configuration found|Expected key [\w-]+", str(error))
    found = missing[0] if missing else f"a file that cannot be understood ({type(error).__name__})"
    remedy = "Name the file by --kubeconfig or the environment variable KUBECONFIG; kubectl config view shows what kubectl uses."
    return NotConfigured(f"kubeconfig {file or KUBE_CONFIG_DEFAULT_LOCATION}", found=found, expected="a kubeconfig with a context", remedy=remedy)
