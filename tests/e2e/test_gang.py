"""The cluster can hold a gang at all: two pods of the trainer's image, in a restricted namespace, find each other by name and add up over gloo."""

from __future__ import annotations

from typing import Any

from e2e.cluster_access import Cluster
from e2e.pods import container, pod_spec

NODES = 2

ADD_UP = """
import os, pathlib, torch, torch.distributed as dist
dist.init_process_group("gloo", rank=int(os.environ["PET_NODE_RANK"]), world_size=int(os.environ["PET_NNODES"]))
number = torch.tensor([10.0 ** dist.get_rank()])
dist.all_reduce(number)
pathlib.Path("/dev/termination-log").write_text(f"{os.getuid()} {number.item()}")
dist.destroy_process_group()
"""


def test_two_pods_of_a_restricted_namespace_add_up_over_gloo(cluster: Cluster) -> None:
    with cluster.namespace() as namespace:
        cluster.apply(SERVICE, gang(cluster.trainer_image), namespace=namespace)
        cluster.wait("condition=Complete", "job/gang", namespace)
        pods = cluster.items("pods", "job-name=gang", namespace)
        messages = [pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] for pod in pods]
        assert messages == ["65532 11.0"] * NODES


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "gang"},
    "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"job-name": "gang"}},
}


def gang(image: str) -> dict[str, Any]:
    """An Indexed Job as the operator makes them, with the environment that torchrun's users know."""
    index = {"fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}
    environment = [
        {"name": "PET_NNODES", "value": str(NODES)},
        {"name": "PET_NODE_RANK", "valueFrom": index},
        {"name": "MASTER_ADDR", "value": "gang-0.gang"},
        {"name": "MASTER_PORT", "value": "29500"},
    ]
    pod = pod_spec(container("rank", image, ["python", "-c", ADD_UP], env=environment), subdomain="gang")
    spec = {"completions": NODES, "parallelism": NODES, "completionMode": "Indexed", "backoffLimit": 0, "template": {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "gang"}, "spec": spec}
