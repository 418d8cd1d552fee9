"""Pods that a namespace of the restricted pod-security level admits: what the tests start themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

USER = 65532
"""Whom the images run as, and the group that volumes are given to."""


def container(name: str, image: str, command: Sequence[str], **more: Any) -> dict[str, Any]:
    """A container with no more rights than it needs, and /tmp to write to."""
    security = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    mounts = [{"name": "tmp", "mountPath": "/tmp"}, *more.pop("volumeMounts", [])]
    return {"name": name, "image": image, "command": list(command), "securityContext": security, "volumeMounts": mounts, **more}


def pod_spec(*containers: Mapping[str, Any], volumes: Sequence[Mapping[str, Any]] = (), **more: Any) -> dict[str, Any]:
    """The spec of a pod that runs as USER, talks to no API server and is not started again."""
    security = {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": security,
        "containers": list(containers),
        "volumes": [{"name": "tmp", "emptyDir": {}}, *volumes],
        **more,
    }
