"""Rights: what of the chart gives them, and what the API server lets somebody do: every verb on every resource that it serves, asked one by one as
`kubectl auth can-i` asks.
"""

from __future__ import annotations

import json
from functools import cache, cached_property
from itertools import groupby
from typing import Any

from cluster.control_plane import ControlPlane
from kubernetes import client, config
from support.chart import NAMESPACE, RELEASE, Manifest, only, render

ROLES = ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
POLICIES = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
Right = tuple[str, str, str]
"""Group, resource (with its subresource, and after a blank the one object that it is about), verb."""


def of_chart(*kinds: str, release: str = RELEASE, **values: Any) -> list[Manifest]:
    """What the chart with `values` has of these kinds."""
    return [each for each in _rendered(release, json.dumps(values)) if each["kind"] in kinds]


def put(cluster: ControlPlane, objects: list[Manifest]) -> None:
    """Apply objects, each in its own namespace."""
    ordered = sorted(objects, key=_home)
    for namespace, group in groupby(ordered, _home):
        cluster.apply(*group, namespace=namespace)


def install_rights(cluster: ControlPlane, release: str = RELEASE, **values: Any) -> str:
    """Apply what the chart with `values` gives the operator: its namespace, account and roles. Returns the user that the account is."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}})
    objects = of_chart("ServiceAccount", *ROLES, release=release, **values)
    put(cluster, objects)
    return f"system:serviceaccount:{NAMESPACE}:{only(objects, 'ServiceAccount')['metadata']['name']}"


def granted(objects: list[Manifest], account: str) -> dict[str, set[Right]]:
    """What rendered roles and bindings give a service account, by namespace; "" is everywhere."""
    roles = {_place(each): rights_of(each) for each in objects if each["kind"] in ("Role", "ClusterRole")}
    found: dict[str, set[Right]] = {}
    for each in objects:
        if account in [subject["name"] for subject in each.get("subjects", ())]:
            kind, namespace = each["roleRef"]["kind"], each["metadata"].get("namespace", "")
            found.setdefault(namespace, set()).update(roles[kind, "" if kind == "ClusterRole" else namespace, each["roleRef"]["name"]])
    return found


def rights_of(role: Manifest) -> set[Right]:
    """What the rules of a role give."""
    return {
        (group, f"{resource} {name}".strip(), verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }


def _place(manifest: Manifest) -> tuple[str, str, str]:
    return manifest["kind"], manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]


@cache
def _rendered(release: str, values: str) -> list[Manifest]:
    return render(json.loads(values), release)


def _home(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("namespace", NAMESPACE))


class Reviewer:
    """Asks `cluster` as its administrator about others."""

    def __init__(self, cluster: ControlPlane) -> None:
        self._cluster = cluster
        self._api = client.AuthorizationV1Api(config.new_client_from_config(str(cluster.kubeconfig)))

    def may(self, user: str, namespace: str, right: Right) -> bool:
        """Whether `user` has this right in `namespace`."""
        group, resource, verb = right
        path, _, name = resource.partition(" ")
        kind, _, part = path.partition("/")
        asked = {"namespace": namespace, "group": group, "resource": kind, "subresource": part, "verb": verb, "name": name}
        groups = ["system:authenticated", *(["system:serviceaccounts"] if user.startswith("system:serviceaccount:") else [])]
        review = {"spec": {"user": user, "groups": groups, "resourceAttributes": asked}}
        return bool(self._api.create_subject_access_review(review).status.allowed)

    def rights(self, user: str, namespace: str) -> set[Right]:
        """What `user` may do in `namespace` with any object of a kind, beyond what every service account may do."""
        everyone = f"system:serviceaccount:{namespace}:default"
        asked = [(group, resource, verb) for group, resource in self._served for verb in VERBS]
        asked += [(group, f"{resource}/finalizers", "update") for group, resource in self._served if "/" not in resource]  # asked about, never served
        return {right for right in asked if self.may(user, namespace, right) and not self.may(everyone, namespace, right)}

    @cached_property
    def _served(self) -> list[tuple[str, str]]:
        groups = json.loads(self._raw("/apis"))["groups"]
        paths = {"": "/api/v1"} | {group["name"]: f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups}
        return [(group, each["name"]) for group, path in paths.items() for each in json.loads(self._raw(path))["resources"]]

    def _raw(self, path: str) -> str:
        return self._cluster.kubectl("get", "--raw", path).stdout
