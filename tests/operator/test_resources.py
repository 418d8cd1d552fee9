"""What the operator builds is what the API server admits, in a namespace that enforces the restricted level, and what the trainer reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import medfinetune_trainer
import pytest
from cluster.control_plane import ControlPlane
from cluster.processes import wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes import client, config
from medfinetune_api.choices import Stage
from medfinetune_api.objects import METRICS_PORT, RENDEZVOUS_PORT
from medfinetune_api.plan import RunPlan
from medfinetune_api.status import Attempt
from medfinetune_operator.observation import Child
from medfinetune_operator.resources.children import APPLIED, applied, child
from medfinetune_operator.resources.job import job
from medfinetune_operator.run import Run, read_run
from medfinetune_operator.settings import Settings
from medfinetune_trainer.stages.node import Node
from support.cluster_strategies import ATTEMPTS, PRIORITY_CLASS, RUNTIME_CLASS, SETTINGS, bodies, runs, stored
from support.manifests import claim, minimal_manifest

PLAIN = Settings(trainer_image="trainer:1")
RUNS = runs("ward-1")
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


def attempt(stage: Stage, number: int = 1) -> Attempt:
    return Attempt.model_validate({"stage": stage, "number": number, "startTime": "2026-01-01T00:00:00Z"})


def run_of(evaluate_on_gang: bool = False, **spec: Any) -> Run:
    prepared = {"microBatch": 4, "totalSteps": 9, "evaluateOnGang": evaluate_on_gang}
    return read_run(stored(minimal_manifest(**spec), "ward-1", {"prepared": prepared}))


def pod_of(built: dict[str, Any], index: int = 0) -> dict[str, Any]:
    """The pod that the Job controller makes of the template."""
    template, at = built["spec"]["template"], {"batch.kubernetes.io/job-completion-index": str(index)}
    meta = {"name": f"{built['metadata']['name']}-{index}", "labels": template["metadata"]["labels"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta | {"annotations": template["metadata"].get("annotations", {}) | at},
        "spec": template["spec"],
    }


def environment_of(pod: dict[str, Any]) -> dict[str, str]:
    """The container's environment as the kubelet resolves it."""
    annotations = {f"metadata.annotations['{name}']": value for name, value in pod["metadata"]["annotations"].items()}
    variables = pod["spec"]["containers"][0]["env"]
    return {each["name"]: each["value"] if "value" in each else annotations[each["valueFrom"]["fieldRef"]["fieldPath"]] for each in variables}


def children(run: Run, given: Settings) -> dict[Child, dict[str, Any]]:
    assert run.spec is not None
    absent = {Child.PLAN: not isinstance(run.plan, RunPlan), Child.CLAIM: run.spec.output.volume.claim_template is None}
    return {kind: child(kind, run, given) for kind in Child if not absent.get(kind)}


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


@given(body=bodies("ward-1"), attempt=ATTEMPTS, given_settings=SETTINGS)
def test_equal_input_gives_equal_bytes_named_labelled_and_owned(body: dict[str, Any], attempt: Attempt, given_settings: Settings) -> None:
    def built() -> list[dict[str, Any]]:
        run = read_run(body)
        return [job(run, attempt, given_settings), *children(run, given_settings).values()]

    assert json.dumps(built()) == json.dumps(built())
    for one in built():
        meta, owners = one["metadata"], [owner["uid"] for owner in one["metadata"].get("ownerReferences", ())]
        assert len(meta["name"]) <= 63
        assert meta["namespace"] == "ward-1"
        assert meta["labels"].items() >= {"medfinetune.io/run": body["metadata"]["name"], "medfinetune.io/run-uid": body["metadata"]["uid"]}.items()
        assert owners == ([] if one["kind"] == "PersistentVolumeClaim" else [body["metadata"]["uid"]])


@given(run=RUNS, attempt=ATTEMPTS, given_settings=SETTINGS)
def test_a_pod_sees_the_plan_claims_and_scratch_and_nothing_secret(run: Run, attempt: Attempt, given_settings: Settings) -> None:
    pod = job(run, attempt, given_settings)["spec"]["template"]["spec"]
    assert {kind for volume in pod["volumes"] for kind in volume if kind != "name"} <= {"configMap", "persistentVolumeClaim", "emptyDir"}
    assert pod["automountServiceAccountToken"] is False
    assert len(pod["containers"]) == 1
    assert {source for each in pod["containers"][0]["env"] for source in each.get("valueFrom", {})} <= {"fieldRef"}
    assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    claims = [volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
    assert len(claims) == len(set(claims))
    writable = [m["mountPath"] for m in pod["containers"][0]["volumeMounts"] if not m.get("readOnly")]
    assert set(writable) <= {"/medfinetune/output", "/tmp", "/dev/shm"}


@pytest.mark.parametrize(
    ("stage", "on_gang", "gpus_per_node", "pods", "ranks", "gpus"),
    [
        (Stage.PREPARE, True, 4, 1, 1, 0),
        (Stage.TRAIN, False, 4, 3, 4, 4),
        (Stage.TRAIN, False, 0, 3, 1, 0),
        (Stage.EVALUATE, False, 4, 1, 1, 1),
        (Stage.EVALUATE, False, 0, 1, 1, 0),
        (Stage.EVALUATE, True, 4, 3, 4, 4),
        (Stage.PURGE, True, 4, 1, 1, 0),
    ],
)
def test_who_is_a_gang_and_who_gets_gpus(stage: Stage, on_gang: bool, gpus_per_node: int, pods: int, ranks: int, gpus: int) -> None:
    run = run_of(on_gang, parallelism={"nodes": 3, "gpusPerNode": gpus_per_node}, resources={"gpuResource": "amd.com/gpu"})
    assert isinstance(run.plan, RunPlan)
    built = job(run, attempt(stage, 2), PLAIN)
    assert (built["spec"]["completions"], built["spec"]["parallelism"]) == (pods, pods)
    assert built["spec"]["template"]["spec"]["containers"][0]["resources"] == ({"limits": {"amd.com/gpu": gpus}} if gpus else {})
    for index in range(pods):
        environment = environment_of(pod_of(built, index))
        node = Node.of(environment, run.plan.parallelism)
        assert (node.nodes, node.processes, node.rank) == (pods, ranks, index)
        assert ("NVIDIA_VISIBLE_DEVICES" in environment) == (gpus == 0)
        if pods > 1:
            assert (node.address, node.port) == (f"run-{stage}-a2-0.run-12345678", RENDEZVOUS_PORT)


def test_the_trainer_reads_every_variable_and_is_given_all_it_needs() -> None:
    code = "\n".join(file.read_text() for file in Path(medfinetune_trainer.__path__[0]).rglob("*.py"))
    read = set(re.findall(r'"((?:PET|MASTER|MEDFINETUNE)_[A-Z_]+)"', code))
    overridden = attempt(Stage.TRAIN).model_copy(update={"micro_batch": 2})
    environment = environment_of(pod_of(job(run_of(), overridden, PLAIN)))
    assert set(environment) - {"HOME"} == read - {"MEDFINETUNE_RENDEZVOUS_SECONDS"}
    own = {name: environment[name] for name in environment if name.startswith("MEDFINETUNE_")}
    assert own == {
        "MEDFINETUNE_ATTEMPT": "1",
        "MEDFINETUNE_MICRO_BATCH": "2",
        "MEDFINETUNE_METRICS_HOST": "0.0.0.0",
        "MEDFINETUNE_METRICS_PORT": str(METRICS_PORT),
        "MEDFINETUNE_STOP_SECONDS": "600",
    }


def test_a_claim_of_several_roles_is_one_volume_and_only_the_output_is_written() -> None:
    shared = {"model": {"volume": claim("all")}, "output": {"volume": claim("all")}}
    pod = job(run_of(**shared), attempt(Stage.PREPARE), PLAIN)["spec"]["template"]["spec"]
    sources = {volume["name"]: volume["persistentVolumeClaim"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume}
    assert sources == {"models": {"claimName": "all", "readOnly": False}, "data": {"claimName": "datasets", "readOnly": True}}
    mounts = {mount["mountPath"]: (mount["name"], mount["readOnly"]) for mount in pod["containers"][0]["volumeMounts"] if mount["name"] in sources}
    assert mounts == {
        "/medfinetune/models": ("models", True),
        "/medfinetune/data": ("data", True),
        "/medfinetune/output": ("models", False),
    }


def test_purge_sees_the_output_alone_and_shared_memory_is_for_what_loads_the_model() -> None:
    template = {"persistentVolumeClaim": None, "claimTemplate": {"storage": "1Gi"}}
    run = run_of(output={"volume": template}, resources={"sharedMemory": "8Gi"})
    volumes = {stage: job(run, attempt(stage), PLAIN)["spec"]["template"]["spec"]["volumes"] for stage in Stage}
    assert {stage: [volume["name"] for volume in found] for stage, found in volumes.items()} == {
        Stage.PREPARE: ["plan", "models", "data", "output", "tmp"],
        Stage.TRAIN: ["plan", "models", "data", "output", "tmp", "shm"],
        Stage.EVALUATE: ["plan", "models", "data", "output", "tmp", "shm"],
        Stage.PURGE: ["plan", "output", "tmp"],
    }
    assert volumes[Stage.PURGE][1]["persistentVolumeClaim"]["claimName"] == child(Child.CLAIM, run, PLAIN)["metadata"]["name"] == "run-12345678"
    assert volumes[Stage.TRAIN][-1]["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}


def test_the_policy_lets_in_its_own_pods_and_scrapers_and_out_to_its_own_and_dns() -> None:
    ours = {"podSelector": {"matchLabels": {"medfinetune.io/run": "run", "medfinetune.io/run-uid": "12345678-9abc-4def-8123-456789abcdef"}}}
    given = Settings(
        trainer_image="t", operator_namespace_selector={"matchLabels": {"a": "b"}}, scraper_namespace_selector={}, dns_egress={"ports": [{"port": 5353}]}
    )
    spec = child(Child.POLICY, run_of(), given)["spec"]
    readers = [{"namespaceSelector": {"matchLabels": {"a": "b"}}}, {"namespaceSelector": {}}]
    assert spec == {
        **ours,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [ours]}, {"from": readers, "ports": [{"protocol": "TCP", "port": METRICS_PORT}]}],
        "egress": [{"to": [ours]}, {"ports": [{"port": 5353}]}],
    }


def test_what_was_applied_is_known_again_until_it_should_be_otherwise() -> None:
    other = PLAIN.model_copy(update={"scraper_namespace_selector": {}})
    for kind in (Child.SERVICE, Child.POLICY):
        built = child(kind, run_of(), PLAIN)
        assert built["metadata"]["annotations"][APPLIED] == applied(built)
    stamps = [child(Child.POLICY, run_of(), each)["metadata"]["annotations"][APPLIED] for each in (PLAIN, other)]
    assert stamps[0] != stamps[1]


ENDINGS = {
    "stopped in good order": ({"exitCode": 75}, [], None),
    "failed": ({"exitCode": 1}, [], "PodFailurePolicy"),
    "evicted after a checkpoint": ({"exitCode": 75}, [{"type": "DisruptionTarget", "status": "True"}], "PodFailurePolicy"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_job_fails_with_its_first_failed_pod_unless_that_stopped_in_good_order(api: client.ApiClient, restricted: str, ending: str) -> None:
    terminated, conditions, reason = ENDINGS[ending]
    run = read_run(stored(minimal_manifest(parallelism={"nodes": 2, "gpusPerNode": 0}), restricted))
    number = list(ENDINGS).index(ending) + 1
    # Its owner is none that exists: the garbage collector would take the Job away.
    built = job(run, attempt(Stage.TRAIN, number), PLAIN)
    built["metadata"].pop("ownerReferences")
    client.BatchV1Api(api).create_namespaced_job(restricted, built)
    core, selector = client.CoreV1Api(api), f"job-name={built['metadata']['name']}"

    def pods() -> list[Any]:
        return list(core.list_namespaced_pod(restricted, label_selector=selector).items)

    def failed() -> list[str]:
        found = client.BatchV1Api(api).read_namespaced_job_status(built["metadata"]["name"], restricted).status.conditions or []
        return [condition.reason for condition in found if condition.type == "Failed"]

    wait_until("both pods", lambda: len(pods()) == 2)
    first = pods()[0]
    assert first.spec.hostname == f"{built['metadata']['name']}-{first.metadata.annotations['batch.kubernetes.io/job-completion-index']}"
    ended = {"name": "trainer", "image": "t", "imageID": "", "ready": False, "restartCount": 0, "state": {"terminated": terminated | {"reason": "Error"}}}
    core.patch_namespaced_pod_status(first.metadata.name, restricted, {"status": {"phase": "Failed", "containerStatuses": [ended], "conditions": conditions}})
    if reason:
        wait_until("the Job failed", lambda: failed() == [reason])
    else:
        wait_until(
            "another pod in its place",
            lambda: (
                first.metadata.uid not in {pod.metadata.uid for pod in pods() if pod.status.phase == "Pending"}
                and len([p for p in pods() if p.status.phase == "Pending"]) == 2
            ),
        )
        assert failed() == []


def test_with_a_queue_a_job_waits_for_kueue(api: client.ApiClient, restricted: str) -> None:
    run = read_run(stored(minimal_manifest(scheduling={"queueName": "gpus"}), restricted))
    built = job(run, attempt(Stage.PREPARE), PLAIN)
    assert built["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    built["metadata"].pop("ownerReferences")
    client.BatchV1Api(api).create_namespaced_job(restricted, built)

    def suspended() -> bool:
        found = client.BatchV1Api(api).read_namespaced_job_status(built["metadata"]["name"], restricted).status.conditions or []
        return [(condition.type, condition.status) for condition in found] == [("Suspended", "True")]

    wait_until("the Job suspended", suspended)
    assert client.CoreV1Api(api).list_namespaced_pod(restricted, label_selector=f"job-name={built['metadata']['name']}").items == []
