"""What the operator builds is what the API server admits, in a namespace that enforces the restricted level, and its Jobs end as they should."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cluster.control_plane import ControlPlane
from cluster.processes import wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes import client, config
from medfinetune_api.choices import Stage
from medfinetune_api.objects import INDEX_LABEL
from medfinetune_api.status import Attempt
from medfinetune_operator.observation import Child
from medfinetune_operator.resources.job import job
from medfinetune_operator.run import read_run
from medfinetune_operator.settings import Settings
from support.built import PLAIN, attempt, children, pod_of
from support.cluster_strategies import ATTEMPTS, PRIORITY_CLASS, RUNTIME_CLASS, SETTINGS, runs, stored
from support.manifests import minimal_manifest

STRICT = {"dry_run": "All", "field_validation": "Strict"}


@pytest.fixture(scope="module")
def restricted(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace that enforces the restricted level, on a cluster with the classes that drawn runs name."""
    control_plane.apply(
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": PRIORITY_CLASS}, "value": 1000},
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": RUNTIME_CLASS}, "handler": "runsc"},
    )
    with control_plane.namespace({"pod-security.kubernetes.io/enforce": "restricted"}) as name:
        yield name


@pytest.fixture(scope="module")
def api(control_plane: ControlPlane) -> client.ApiClient:
    return config.new_client_from_config(str(control_plane.kubeconfig))


@settings(max_examples=60)
@given(data=st.data(), attempt=ATTEMPTS, given_settings=SETTINGS)
def test_every_job_and_its_pods_are_admitted(api: client.ApiClient, restricted: str, data: st.DataObject, attempt: Attempt, given_settings: Settings) -> None:
    built = job(data.draw(runs(restricted)), attempt, given_settings)
    client.BatchV1Api(api).create_namespaced_job(restricted, built, **STRICT)
    pod = client.CoreV1Api(api).create_namespaced_pod(restricted, pod_of(built), **STRICT)
    mounted = [mount.mount_path for mount in pod.spec.containers[0].volume_mounts]
    assert sorted(mounted) == sorted(mount["mountPath"] for mount in built["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]), "a token was added"


@settings(max_examples=40)
@given(data=st.data(), given_settings=SETTINGS)
def test_every_other_child_is_admitted(api: client.ApiClient, restricted: str, data: st.DataObject, given_settings: Settings) -> None:
    core, networking = client.CoreV1Api(api), client.NetworkingV1Api(api)
    create = {
        Child.PLAN: core.create_namespaced_config_map,
        Child.SERVICE: core.create_namespaced_service,
        Child.POLICY: networking.create_namespaced_network_policy,
        Child.CLAIM: core.create_namespaced_persistent_volume_claim,
    }
    for kind, built in children(data.draw(runs(restricted)), given_settings).items():
        create[kind](restricted, built, **STRICT)


def created(api: client.ApiClient, built: dict[str, Any]) -> str:
    """Create a Job without its owner, which is none that exists: the garbage collector would take it away."""
    meta = {name: value for name, value in built["metadata"].items() if name != "ownerReferences"}
    made = client.BatchV1Api(api).create_namespaced_job(meta["namespace"], built | {"metadata": meta})
    return str(made.metadata.name)


def conditions_of(api: client.ApiClient, namespace: str, name: str) -> dict[str, str]:
    """Reasons of a Job's true conditions, by type."""
    found = client.BatchV1Api(api).read_namespaced_job_status(name, namespace).status.conditions or []
    return {condition.type: condition.reason for condition in found if condition.status == "True"}


ENDINGS: dict[str, tuple[dict[str, int], list[dict[str, str]], str | None]] = {
    "stopped in good order": ({"exitCode": 75}, [], None),
    "failed": ({"exitCode": 1}, [], "PodFailurePolicy"),
    "evicted after a checkpoint": ({"exitCode": 75}, [{"type": "DisruptionTarget", "status": "True"}], "PodFailurePolicy"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_job_fails_with_its_first_failed_pod_unless_that_stopped_in_good_order(api: client.ApiClient, restricted: str, ending: str) -> None:
    terminated, conditions, reason = ENDINGS[ending]
    run = read_run(stored(minimal_manifest(parallelism={"nodes": 2, "gpusPerNode": 0}), restricted))
    name = created(api, job(run, attempt(Stage.TRAIN, list(ENDINGS).index(ending) + 1), PLAIN))

    def waiting() -> list[Any]:
        pods = client.CoreV1Api(api).list_namespaced_pod(restricted, label_selector=f"job-name={name}").items
        return [pod for pod in pods if pod.status.phase == "Pending"]

    wait_until("both pods", lambda: len(waiting()) == 2)
    first = waiting()[0]
    assert first.spec.hostname == f"{name}-{first.metadata.annotations[INDEX_LABEL]}"
    ended = {"name": "trainer", "image": "t", "imageID": "", "ready": False, "restartCount": 0, "state": {"terminated": terminated | {"reason": "Error"}}}
    status = {"phase": "Failed", "containerStatuses": [ended], "conditions": conditions}
    client.CoreV1Api(api).patch_namespaced_pod_status(first.metadata.name, restricted, {"status": status})
    if reason is None:  # Kubernetes waits 10 s before it makes another
        wait_until("another pod in its place", lambda: len(waiting()) == 2)
        assert conditions_of(api, restricted, name) == {}
    else:
        wait_until("the Job failed", lambda: conditions_of(api, restricted, name).get("Failed") == reason)


def test_with_a_queue_a_job_waits_for_kueue(api: client.ApiClient, restricted: str) -> None:
    run = read_run(stored(minimal_manifest(scheduling={"queueName": "gpus"}), restricted))
    built = job(run, attempt(Stage.PREPARE), PLAIN)
    assert built["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    name = created(api, built)
    wait_until("the Job suspended", lambda: conditions_of(api, restricted, name) == {"Suspended": "JobSuspended"})
    assert client.CoreV1Api(api).list_namespaced_pod(restricted, label_selector=f"job-name={name}").items == []
