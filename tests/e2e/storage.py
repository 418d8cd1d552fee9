"""The three volumes of a run on a cluster, filled with the minimal example's files, and a pod through whose hands a test reads and writes them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster_access import Cluster
from e2e.pods import container, pod_spec

CLAIMS = ("models", "datasets", "results")
"""As the example's manifest names them."""

_HANDS = "hands"
_SIZE = "1Gi"


@dataclass(frozen=True)
class Volumes:
    """The claims of one namespace, each seen as /volumes/CLAIM by a pod that the test talks to."""

    cluster: Cluster
    namespace: str

    def fill(self, claim: str, folder: Path) -> None:
        """Copy all that is in `folder` to the top of the volume."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            # Not the folder itself: who owns the volume's top is the cluster's business.
            for path in folder.iterdir():
                archive.add(path, arcname=path.name)
        self._run("tar", "--extract", "--no-same-owner", f"--directory=/volumes/{claim}", input=packed.getvalue())

    def copy(self, claim: str, to: Path) -> None:
        """Copy all that is on the volume to the folder `to`."""
        packed = self._run("tar", "--create", f"--directory=/volumes/{claim}", ".")
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(to, filter="data")

    def find(self, claim: str, pattern: str) -> list[str]:
        """The files whose path on the volume matches the shell's pattern."""
        return self._run("find", f"/volumes/{claim}", "-path", f"/volumes/{claim}/{pattern}").decode().splitlines()

    def _run(self, *command: str, input: bytes = b"") -> bytes:
        return self.cluster.execute(self.namespace, _HANDS, command, input)


@contextmanager
def filled_volumes(cluster: Cluster, namespace: str, models: Path, data: Path) -> Iterator[Volumes]:
    """The three claims, bound and filled, as long as the test needs them."""
    for name in CLAIMS:
        cluster.apply(*_volume(cluster, namespace, name), namespace=namespace)
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": _HANDS}, "spec": _hands(cluster.trainer_image)}, namespace=namespace)
    cluster.wait("condition=Ready", f"pod/{_HANDS}", namespace)
    volumes = Volumes(cluster, namespace)
    volumes.fill("models", models)
    volumes.fill("datasets", data)
    yield volumes
    if cluster.volumes:
        # A volume made by hand is freed by hand; it goes once the namespace with its claim is gone.
        cluster.kubectl("delete", "persistentvolume", "--wait=false", *(f"{namespace}-{name}" for name in CLAIMS))


def _volume(cluster: Cluster, namespace: str, name: str) -> list[dict[str, Any]]:
    """A claim; on a node of ours with the folder that it is bound to: a static `local` volume, which minds fsGroup as hostPath does not."""
    claim: dict[str, Any] = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": _SIZE}}, "storageClassName": cluster.storage_class}
    objects: list[dict[str, Any]] = []
    if cluster.volumes:
        folder = cluster.volumes / namespace / name
        folder.mkdir(parents=True)
        claim["volumeName"] = f"{namespace}-{name}"
        here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [cluster.node]}
        spec = {
            "accessModes": ["ReadWriteMany", "ReadOnlyMany"],
            "capacity": {"storage": _SIZE},
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            "persistentVolumeReclaimPolicy": "Retain",
        }
        objects.append({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": claim["volumeName"]}, "spec": spec})
    return [*objects, {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": claim}]


def _hands(image: str) -> dict[str, Any]:
    mounts = [{"name": name, "mountPath": f"/volumes/{name}"} for name in CLAIMS]
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in CLAIMS]
    return pod_spec(container(_HANDS, image, ["sleep", "infinity"], volumeMounts=mounts), volumes=volumes, terminationGracePeriodSeconds=0)
