"""The pod of a fetch: placed and secured like the run's own pods, it sees the output claim alone, read-only, and ends by itself if nobody deletes it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from medfinetune_api.errors import Refusal
from medfinetune_api.objects import DOMAIN, OUTPUT_FOLDER
from medfinetune_api.spec import API_VERSION, KIND

from medfinetune_cli.cluster_client import Cluster, Object
from medfinetune_cli.cluster_errors import ClusterRefusal
from medfinetune_cli.output import say

FETCH_LABEL = f"{DOMAIN}/fetch"
"""Name of the run that is fetched. Not the run's own labels: this pod is none of an attempt."""
CONTAINER = "fetch"
DEADLINE = 4 * 3600
"""Seconds after which the pod ends by itself."""
PLACEMENT = ("nodeSelector", "tolerations", "affinity", "runtimeClassName", "imagePullSecrets")
"""What of the run's pod template says where a pod may run, and how its image is pulled."""
RESTRICTED = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
OWN_SECURITY = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
RESOURCES = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}}
PAUSE = 1.0
"""Seconds between two looks at a pod that is starting."""
HOPELESS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError", "RunContainerError")
"""Reasons of a waiting container that no patience mends."""


class PodNotStarted(ClusterRefusal):
    """The pod that reads the volume does not run."""


def fetch_pod(run: Mapping[str, Any], template: Mapping[str, Any], claim: str) -> Object:
    """The pod for `run` (its JSON) after the pod spec `template` of one of its Jobs. It goes with the run, should nobody be left to delete it."""
    meta = run["metadata"]
    owner = {"apiVersion": API_VERSION, "kind": KIND, "name": meta["name"], "uid": meta["uid"]}
    placement = {name: template[name] for name in PLACEMENT if name in template}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{meta['name']}-fetch-{secrets.token_hex(3)}",
            "labels": {FETCH_LABEL: meta["name"]},
            "ownerReferences": [owner],
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": DEADLINE,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {**template.get("securityContext", {}), **RESTRICTED},
            "volumes": [{"name": "output", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}],
            "containers": [_container(template["containers"][0])],
            **placement,
        },
    }


def _container(stage: Mapping[str, Any]) -> Object:
    """It only waits: what it sends is asked of it by exec."""
    pull = {"imagePullPolicy": stage["imagePullPolicy"]} if "imagePullPolicy" in stage else {}
    return {
        "name": CONTAINER,
        "image": stage["image"],
        **pull,
        "command": ["python3", "-c", f"import time; time.sleep({DEADLINE})"],
        "resources": RESOURCES,
        "securityContext": OWN_SECURITY,
        "volumeMounts": [{"name": "output", "mountPath": OUTPUT_FOLDER, "readOnly": True}],
    }


@contextmanager
def started_pod(cluster: Cluster, manifest: Object, seconds: float) -> Iterator[str]:
    """Create the pod, wait until it runs, and delete it at the end, whatever the end is. Raises PodNotStarted after `seconds`."""
    name = manifest["metadata"]["name"]
    try:
        # Inside: an interrupted request may have created it all the same.
        cluster.create_pod(manifest)
        _wait_until_running(cluster, name, seconds)
        yield name
    finally:
        _delete(cluster, name)


def _delete(cluster: Cluster, name: str) -> None:
    try:
        cluster.delete_pod(name)
    except Refusal as refusal:
        say(f"pod {name} could not be deleted ({refusal.found}); delete it: kubectl delete pod {name} -n {cluster.namespace}")


def _wait_until_running(cluster: Cluster, name: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        pod = cluster.pod(name)
        if pod["status"].get("phase") == "Running":
            return
        reason, message = _holding_up(pod)
        if reason in HOPELESS or pod["status"].get("phase") in ("Failed", "Succeeded") or time.monotonic() > end:
            found = f"not running: {reason}" + (f" ({message})" if message else "")
            remedy = "Where the claim can be mounted by one node only, wait until the run's own pods have ended; else give another --image or --timeout."
            raise PodNotStarted(f"pod {name}", found=found, expected="a pod that can read the output volume", remedy=remedy)
        time.sleep(PAUSE)


def _holding_up(pod: Object) -> tuple[str, str]:
    """Why a pod does not run: its container's word, else its scheduler's, else its phase."""
    waiting = [one["state"]["waiting"] for one in pod["status"].get("containerStatuses") or () if "waiting" in one.get("state", {})]
    unmet = [one for one in pod["status"].get("conditions") or () if one["status"] == "False" and one.get("reason") == "Unschedulable"]
    for one in (*waiting, *unmet):
        return one.get("reason", "Waiting"), one.get("message", "")
    return pod["status"].get("reason") or pod["status"].get("phase", "Pending"), pod["status"].get("message", "")
