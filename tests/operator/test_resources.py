"""What the operator builds of a run: who is a gang, who sees which volume and GPU, and that it is what the trainer reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import medfinetune_trainer
import pytest
from hypothesis import given
from medfinetune_api.choices import Stage
from medfinetune_api.objects import METRICS_PORT, QUEUE_LABEL, RENDEZVOUS_PORT
from medfinetune_api.plan import RunPlan
from medfinetune_api.status import Attempt
from medfinetune_operator.observation import Child
from medfinetune_operator.resources.children import APPLIED, applied, child
from medfinetune_operator.resources.job import job
from medfinetune_operator.run import Run, read_run
from medfinetune_operator.settings import Settings
from medfinetune_trainer.stages.node import Node
from medfinetune_trainer.stages.patience import STALL_SECONDS, stall_seconds
from medfinetune_trainer.stages.program import load_plan
from medfinetune_trainer.stages.watchdog import PATIENCE
from support.built import NAMESPACE, PLAIN, attempt, children, environment_of, pod_of, run_of
from support.cluster_strategies import ATTEMPTS, SETTINGS, bodies, runs
from support.manifests import claim


@given(body=bodies(NAMESPACE), attempt=ATTEMPTS, given_settings=SETTINGS)
def test_equal_input_gives_equal_bytes_named_labelled_and_owned(body: dict[str, Any], attempt: Attempt, given_settings: Settings) -> None:
    def built() -> list[dict[str, Any]]:
        run = read_run(body)
        return [job(run, attempt, given_settings), *children(run, given_settings).values()]

    assert json.dumps(built()) == json.dumps(built())
    for one in built():
        meta, owners = one["metadata"], [owner["uid"] for owner in one["metadata"].get("ownerReferences", ())]
        assert len(meta["name"]) <= 63
        assert meta["namespace"] == NAMESPACE
        assert meta["labels"].items() >= {"medfinetune.io/run": body["metadata"]["name"], "medfinetune.io/run-uid": body["metadata"]["uid"]}.items()
        assert owners == ([] if one["kind"] == "PersistentVolumeClaim" else [body["metadata"]["uid"]])


@given(run=runs(NAMESPACE), attempt=ATTEMPTS, given_settings=SETTINGS)
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


def holds(built: Any, given: Any) -> bool:
    """Whether all that was given is in what was built, which may have defaults more; nothing that is empty needs to be there."""
    if isinstance(given, dict):
        return all(holds(built.get(name), part) for name, part in given.items() if part not in ({}, []))
    if isinstance(given, list):
        return len(built) == len(given) and all(map(holds, built, given))
    return bool(built == given)


@given(body=bodies(NAMESPACE), attempt=ATTEMPTS, given_settings=SETTINGS)
def test_what_the_spec_says_of_pods_is_in_the_pod(body: dict[str, Any], attempt: Attempt, given_settings: Settings) -> None:
    template = job(read_run(body), attempt, given_settings)["spec"]["template"]
    scheduling, pods, resources = (body["spec"][part] for part in ("scheduling", "pods", "resources"))
    container = template["spec"]["containers"][0]
    assert holds(template["spec"], {name: part for name, part in scheduling.items() if name != "queueName"})
    assert holds(template["spec"], {"imagePullSecrets": pods.get("imagePullSecrets", [])})
    assert holds(template["metadata"], {name: pods.get(name, {}) for name in ("labels", "annotations")})
    assert container["image"] == pods.get("image", given_settings.trainer_image)
    assert [variable for variable in container["env"] if variable in pods.get("env", [])] == pods.get("env", [])
    stage = {Stage.TRAIN: "train", Stage.EVALUATE: "evaluate" if "evaluate" in resources else "train"}.get(attempt.stage, "prepare")
    assert holds(container["resources"], resources.get(stage, {}))
    assert template["spec"]["terminationGracePeriodSeconds"] - given_settings.stop_seconds >= 30


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


@pytest.mark.parametrize("resource", ["nvidia.com/gpu", "amd.com/gpu", "nvidia.com/mig-3g.20gb"])
def test_what_a_run_leaves_open_is_the_administrators_and_what_it_says_is_its_own(resource: str) -> None:
    chosen = Settings(trainer_image="trainer:1", defaults={"gpuResource": resource, "storageClassName": "site", "queueName": "gpus"})

    def built(template: dict[str, Any], **spec: Any) -> tuple[Any, Any, Any, Any]:
        volume = {"persistentVolumeClaim": None, "claimTemplate": {"storage": "1Gi", **template}}
        run = run_of(parallelism={"gpusPerNode": 2}, output={"volume": volume}, **spec)
        made, storage = job(run, attempt(Stage.TRAIN), chosen), child(Child.CLAIM, run, chosen)["spec"]["storageClassName"]
        limits = made["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
        return limits, made["metadata"]["labels"][QUEUE_LABEL], made["spec"]["suspend"], storage

    assert built({}) == ({resource: 2}, "gpus", True, "site")
    own = {"resources": {"gpuResource": "example.com/gpu"}, "scheduling": {"queueName": "mine"}}
    assert built({"storageClassName": "fast"}, **own) == ({"example.com/gpu": 2}, "mine", True, "fast")


def test_evaluate_asks_for_what_train_does_and_purge_for_what_prepare_does_unless_told_otherwise() -> None:
    def cpus(**resources: Any) -> dict[Stage, str]:
        run = run_of(resources={name: {"requests": {"cpu": cpu}} for name, cpu in resources.items()}, parallelism={"gpusPerNode": 0})
        built = {stage: job(run, attempt(stage), PLAIN)["spec"]["template"]["spec"]["containers"][0]["resources"] for stage in Stage}
        return {stage: found["requests"]["cpu"] for stage, found in built.items()}

    assert cpus(prepare="1", train="2") == {Stage.PREPARE: "1", Stage.TRAIN: "2", Stage.EVALUATE: "2", Stage.PURGE: "1", Stage.RELEASE: "1"}
    assert cpus(prepare="1", train="2", evaluate="3")[Stage.EVALUATE] == "3"


def test_the_trainer_reads_every_variable_and_is_given_all_it_needs() -> None:
    code = "\n".join(file.read_text() for file in Path(medfinetune_trainer.__path__[0]).rglob("*.py"))
    read = set(re.findall(r'"((?:PET|MASTER|MEDFINETUNE)_[A-Z_]+)"', code)) - {"MEDFINETUNE_RELEASED_BY", "MEDFINETUNE_RELEASE_REASON"}  # of a release alone
    read -= {"MEDFINETUNE_SIGNING_KEY"}  # where a Secret holds one
    overridden = attempt(Stage.TRAIN).model_copy(update={"micro_batch": 2})
    environment = environment_of(pod_of(job(run_of(), overridden, PLAIN)))
    assert set(environment) - {"HOME"} == read - {"MEDFINETUNE_RENDEZVOUS_SECONDS"}
    own = {name: environment[name] for name in environment if name.startswith("MEDFINETUNE_")}
    assert own == {
        "MEDFINETUNE_ATTEMPT": "1",
        "MEDFINETUNE_IMAGE": "trainer:1",
        "MEDFINETUNE_MICRO_BATCH": "2",
        "MEDFINETUNE_METRICS_HOST": "0.0.0.0",
        "MEDFINETUNE_METRICS_PORT": str(METRICS_PORT),
        "MEDFINETUNE_REQUESTER": "",
        "MEDFINETUNE_REQUESTER_VERIFIED": "false",
        "MEDFINETUNE_STALL_SECONDS": "1440",
        "MEDFINETUNE_STOP_SECONDS": "600",
    }


@pytest.mark.parametrize(("timeout", "told"), [(0, 1.0), (1, 1.0), (60, 48.0), (1800, 1440.0), (31536000, 25228800.0)])
def test_the_trainers_watchdog_speaks_before_the_operator_does(monkeypatch: pytest.MonkeyPatch, timeout: int, told: float) -> None:
    environment = environment_of(pod_of(job(run_of(runPolicy={"stallTimeoutSeconds": timeout}), attempt(Stage.TRAIN), PLAIN)))
    monkeypatch.setenv(STALL_SECONDS, environment[STALL_SECONDS])
    assert stall_seconds() == told
    assert told * PATIENCE <= timeout or timeout <= 1


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
        Stage.RELEASE: ["plan", "output", "tmp"],
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


def test_the_trainer_loads_the_plan_and_nobody_can_change_it(tmp_path: Path) -> None:
    run = run_of()
    built = child(Child.PLAN, run, PLAIN)
    (tmp_path / "plan.json").write_text(built["data"]["plan.json"])
    assert load_plan(tmp_path / "plan.json") == run.plan
    assert built["immutable"] is True
    pod = job(run, attempt(Stage.PREPARE), PLAIN)["spec"]["template"]["spec"]
    assert pod["volumes"][0]["configMap"]["name"] == built["metadata"]["name"]
    assert pod["containers"][0]["args"][:3] == ["prepare", "--plan", "/etc/medfinetune/plan.json"]


def test_the_service_names_the_pods_of_this_run_before_they_are_ready() -> None:
    run = run_of()
    service, template = child(Child.SERVICE, run, PLAIN), job(run, attempt(Stage.TRAIN), PLAIN)["spec"]["template"]
    assert (service["spec"]["clusterIP"], service["spec"]["publishNotReadyAddresses"]) == ("None", True)
    assert service["metadata"]["name"] == template["spec"]["subdomain"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert service["spec"]["selector"]["medfinetune.io/run-uid"] == run.identity.uid


def test_what_was_applied_is_known_again_until_it_should_be_otherwise() -> None:
    other = PLAIN.model_copy(update={"scraper_namespace_selector": {}})
    for kind in (Child.SERVICE, Child.POLICY):
        built = child(kind, run_of(), PLAIN)
        assert built["metadata"]["annotations"][APPLIED] == applied(built)
    stamps = [child(Child.POLICY, run_of(), each)["metadata"]["annotations"][APPLIED] for each in (PLAIN, other)]
    assert stamps[0] != stamps[1]
