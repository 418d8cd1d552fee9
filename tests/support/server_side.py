"""What the real API server says to a manifest or an edit: server-side dry runs with strict field validation, so that nothing has to be removed after."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from medfinetune_api.schema import GROUP, PLURAL, VERSION

Refusals = Mapping[str, str]
"""Field -> why, in the server's words; empty where it was accepted."""


class ServerSide:
    """The MedFineTunes of one namespace of the API server that `kubeconfig` names."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self._api = client.CustomObjectsApi(config.new_client_from_config(str(kubeconfig)))
        self._where = (GROUP, VERSION, namespace, PLURAL)

    def store(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Create it for good; what is stored, defaults filled in."""
        stored: dict[str, Any] = self._api.create_namespaced_custom_object(*self._where, manifest, field_validation="Strict")
        return stored

    def create(self, manifest: Mapping[str, Any]) -> Refusals:
        """Why it would be refused as a new object."""
        return self._refusals(self._api.create_namespaced_custom_object, *self._where, manifest)

    def replace(self, manifest: Mapping[str, Any]) -> Refusals:
        """Why it would be refused in place of the stored object of its name."""
        return self._refusals(self._api.replace_namespaced_custom_object, *self._where, manifest["metadata"]["name"], manifest)

    def _refusals(self, call: Any, *arguments: Any) -> Refusals:
        try:
            call(*arguments, dry_run="All", field_validation="Strict")
        except ApiException as refused:
            return _by_field(json.loads(refused.body))
        return {}


def _by_field(status: Mapping[str, Any]) -> Refusals:
    """A Status by field; strict decoding answers in one sentence, without causes. `<nil>` only says that rules were left for later."""
    unknown = re.findall(r'unknown field "([^"]+)"', status["message"])
    causes = (status.get("details") or {}).get("causes") or [{"field": field, "message": status["message"]} for field in unknown]
    named = {_plain(cause["field"]): cause["message"] for cause in causes if cause["field"] != "<nil>"}
    assert named, f"refused without a field: {status}"
    return named


def _plain(field: str) -> str:
    """A map's entry is `.name` to a schema's bound and `[name]` to a rule: one spelling."""
    return re.sub(r"\[(\D[^\]]*)\]", r".\1", field)
