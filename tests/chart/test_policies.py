"""The admission policies of two releases: each under its own name, told to its own operator, and looking only where that carries runs. What they hold:
tests/operator/test_requester.py and test_quarantine.py; the operator's own, test_rights.py.
"""

from __future__ import annotations

import json

from cluster.control_plane import ControlPlane
from cluster.processes import wait_until
from medfinetune_api.objects import REQUESTER_ANNOTATION
from support.manifests import minimal_manifest
from support.rights import POLICIES, of_chart, put

ALL = {"admissionPolicies": {of: {"enabled": True} for of in ("operator", "release", "requester")}}


def test_they_are_off_unless_wanted_and_named_after_the_release() -> None:
    assert of_chart(*POLICIES) == []
    for release, prefix in (("medfinetune", "medfinetune"), ("second", "second-medfinetune")):
        found = of_chart(*POLICIES, release=release, **ALL)
        assert sorted((each["kind"], each["metadata"]["name"]) for each in found) == [
            (kind, f"{prefix}-{of}") for kind in POLICIES for of in ("operator", "release", "requester")
        ]
        assert {each["spec"].get("failurePolicy", "Fail") for each in found} == {"Fail"}
        bound = {each["spec"]["policyName"]: each["spec"]["validationActions"] for each in found if each["kind"] == POLICIES[1]}
        assert bound == {f"{prefix}-{of}": ["Deny"] for of in ("operator", "release", "requester")}


def test_with_some_namespaces_they_look_at_no_other(control_plane: ControlPlane) -> None:
    def said(namespace: str) -> str:
        meta = {"name": "probe", "annotations": {REQUESTER_ANNOTATION: "somebody-else"}}
        manifest = json.dumps({**minimal_manifest(), "metadata": meta})
        return control_plane.kubectl("create", "--dry-run=server", "-n", namespace, "-f", "-", input=manifest, check=False).stderr

    with control_plane.namespace() as ward, control_plane.namespace() as other:
        policies = of_chart(*POLICIES, release="some", watchNamespaces=[ward], **ALL)
        put(control_plane, policies)
        try:
            wait_until("the policy to hold", lambda: "found another name than admin" in said(ward))
            assert said(other) == ""
        finally:
            control_plane.kubectl("delete", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": policies}))
