"""The images as pods see them: no rights, nothing that builds, a process 1 that loses no signal, and an inventory that names all that is in them.

Of the trainer there are two, one of them without CUDA: a whole run passes on that one too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cluster.processes import wait_until
from e2e.cluster_access import SECONDS, Cluster
from e2e.pods import container, pod_spec
from e2e.runs import manifest, submit
from e2e.storage import Volumes
from medfinetune_api.exits import Exit

INIT = ["dumb-init", "--single-child", "--"]
PYTHON = ["python", "-c"]
PARTS = ["operator", "trainer", "trainer-cpu"]
MOST_MEBIBYTES = 250
"""What the operator's image may add to its base."""

WAITS = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
subprocess.run(["sh", "-c", "sleep 0.1 &"], check=True)  # an orphan, which ends as process 1's child
signal.pause()
"""
LOSES = "import os, signal; os.kill(1, signal.SIGTERM); signal.sigtimedwait([signal.SIGUSR1], 5)"
"""Asked to stop before it has said what to do then, as a stage that still imports; ends by itself after 5 s where nobody stops it."""

DISTRIBUTIONS = """
import importlib.metadata, json, re, sysconfig
found = importlib.metadata.distributions(path=[sysconfig.get_path("purelib")])
print(json.dumps([[re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower(), each.version] for each in found]))
"""
OF_CUDA = r"find / -xdev -regex '.*/lib\(cuda\|cudart\|cublas\|cudnn\|cufft\|cusparse\|cusolver\|nccl\|nvrtc\|nvidia\)[^/]*\.so[.0-9]*' 2>/dev/null | wc -l"


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    """A restricted namespace with a pod of each image that waits, called as the image."""
    with cluster.namespace() as name:
        for part, image in zip(PARTS, (cluster.operator_image, cluster.trainer_image, cluster.trainer_cpu_image), strict=True):
            start(cluster, name, part, image, [*INIT, *PYTHON, WAITS])
        for part in PARTS:
            cluster.wait("condition=Ready", f"pod/{part}", name)
        yield name


def start(cluster: Cluster, namespace: str, name: str, image: str, command: list[str] | None = None, **more: Any) -> None:
    """Start a pod; without a command the image's own entrypoint."""
    ours = {key: value for key, value in container(name, image, command or [], **more).items() if key != "command" or command}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod_spec(ours)}, namespace=namespace)


def ended(cluster: Cluster, namespace: str, name: str) -> int:
    """The exit code of the pod's container, once it has one."""

    def code() -> int | None:
        (status,) = cluster.get("pod", name, namespace)["status"].get("containerStatuses", [{}])
        return status.get("state", {}).get("terminated", {}).get("exitCode")

    wait_until(f"the end of {name}", lambda: code() is not None, SECONDS, lambda: cluster.kubectl("logs", name, "--namespace", namespace, check=False))
    found = code()
    assert found is not None
    return found


def shell(cluster: Cluster, namespace: str, pod: str, script: str) -> str:
    return cluster.execute(namespace, pod, ["sh", "-c", script]).decode().strip()


def test_exit_codes_and_signals_pass_process_1_and_orphans_are_reaped(cluster: Cluster, namespace: str) -> None:
    start(cluster, namespace, "own-trainer", cluster.trainer_image, args=["prepare", "--plan", "/nowhere/plan.json"])
    start(cluster, namespace, "own-operator", cluster.operator_image, args=["--config", "/nowhere/settings.yaml"])
    start(cluster, namespace, "with-init", cluster.operator_image, [*INIT, *PYTHON, LOSES])
    start(cluster, namespace, "without-init", cluster.operator_image, [*PYTHON, LOSES])
    assert ended(cluster, namespace, "own-trainer") == Exit.INVALID_MANIFEST
    assert ended(cluster, namespace, "own-operator") == Exit.USAGE
    assert ended(cluster, namespace, "with-init") == 128 + 15
    assert ended(cluster, namespace, "without-init") == 0  # the signal was lost: a pod would be killed at the end of its grace period

    start(cluster, namespace, "stopped", cluster.trainer_image, [*INIT, *PYTHON, WAITS])
    cluster.wait("condition=Ready", "pod/stopped", namespace)
    first = "tr '\\0' ' ' < /proc/1/cmdline"
    assert shell(cluster, namespace, "stopped", first).startswith("dumb-init ")
    asleep_or_dead = "cat /proc/[0-9]*/stat | grep -cE '^[0-9]+ \\((sleep|sh)\\) [SZ] 1 ' || true"
    wait_until("the orphan to be reaped", lambda: shell(cluster, namespace, "stopped", asleep_or_dead) == "0", SECONDS)
    shell(cluster, namespace, "stopped", "kill -TERM 1")
    assert ended(cluster, namespace, "stopped") == Exit.INTERRUPTED


@pytest.mark.parametrize("part", PARTS)
def test_an_image_has_no_rights_and_nothing_that_builds(part: str, cluster: Cluster, namespace: str) -> None:
    assert shell(cluster, namespace, part, "id -u; id -g").split() == ["65532", "65532"]
    assert shell(cluster, namespace, part, "touch /opt/medfinetune/x 2>/dev/null || echo refused; touch /tmp/x && echo written").split() == [
        "refused",
        "written",
    ]
    assert shell(cluster, namespace, part, "for name in gcc cc ld make pip uv; do command -v $name; done; true") == ""
    assert shell(cluster, namespace, part, "find / -xdev -path '*/.cache/*' -o -xdev -path '*/pip/cache/*' 2>/dev/null || true") == ""


def test_the_operators_image_is_small(cluster: Cluster, namespace: str) -> None:
    added = int(shell(cluster, namespace, "operator", "du -smc /opt/medfinetune /usr/share/medfinetune | tail -1 | cut -f1"))
    assert added < MOST_MEBIBYTES


def test_a_whole_run_passes_without_cuda(operator: Cluster, namespace: str, volumes: Volumes) -> None:
    """Prepared, trained in 4 bits by a gang of two, evaluated; the image holds no library of CUDA."""
    assert int(shell(operator, namespace, "trainer", OF_CUDA)) > 10
    assert int(shell(operator, namespace, "trainer-cpu", OF_CUDA)) == 0

    content = manifest("without-cuda", epochs=1, checkpoint_every=5, tasks={"unseen-en"})
    content["spec"]["pods"]["image"] = operator.trainer_cpu_image
    run = submit(operator, volumes.namespace, content)
    run.wait_until_ended()
    stages = ("prepare", "train", "evaluate")
    assert {each["image"] for stage in stages for pod in run.pods(stage) for each in pod["spec"]["containers"]} == {operator.trainer_cpu_image}
    assert len(run.status()["results"]) == 1
    assert volumes.find("results", "without-cuda-*/adapter/adapter_model.safetensors")


@pytest.mark.parametrize("part", PARTS)
def test_the_inventory_names_all_that_is_in_the_image(part: str, cluster: Cluster, namespace: str) -> None:
    bill = json.loads(cluster.execute(namespace, part, ["cat", "/usr/share/medfinetune/sbom.cdx.json"]))
    debian = {(each["name"], each["version"]) for each in bill["components"] if each.get("purl", "").startswith("pkg:deb/")}
    python = {
        (each["name"].lower().replace("_", "-").replace(".", "-"), each["version"]): each
        for each in bill["components"]
        if not each["bom-ref"].startswith("pkg:deb/")
    }

    there = {tuple(each) for each in json.loads(cluster.execute(namespace, part, [*PYTHON, DISTRIBUTIONS]))}
    assert there == python.keys() >= {("medfinetune", "0.1.0")}
    assert [name for name, component in python.items() if not component.get("licenses")] == []
    assert ("torch" in {name for name, _ in there}) == (part == "trainer")
    assert ("python3-torch" in {name for name, _ in debian}) == (part == "trainer-cpu")
    listed = shell(cluster, namespace, part, "dpkg-query --show --showformat='${Package} ${Version}\\n'")
    assert {tuple(line.split()) for line in listed.splitlines()} == debian
    assert all(f"| {name} | {version} |" in shell(cluster, namespace, part, "cat /usr/share/medfinetune/licenses.md") for name, version in sorted(there)[:3])
