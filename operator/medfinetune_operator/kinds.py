"""Kinds: where the API server keeps the objects that the operator reads and writes."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from medfinetune_api.objects import RUN_LABEL
from medfinetune_api.schema import PLURAL
from medfinetune_api.spec import API_VERSION, KIND


class _Place(NamedTuple):
    api_version: str
    plural: str
    kind: str
    ours: bool
    """True where the operator makes objects of this kind, which carry the run's label."""


class Kind(Enum):
    """One kind of object."""

    RUN = _Place(API_VERSION, PLURAL, KIND, False)
    JOB = _Place("batch/v1", "jobs", "Job", True)
    POD = _Place("v1", "pods", "Pod", True)
    CLAIM = _Place("v1", "persistentvolumeclaims", "PersistentVolumeClaim", False)
    CONFIG_MAP = _Place("v1", "configmaps", "ConfigMap", True)
    SERVICE = _Place("v1", "services", "Service", True)
    NETWORK_POLICY = _Place("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", True)
    EVENT = _Place("v1", "events", "Event", False)
    LEASE = _Place("coordination.k8s.io/v1", "leases", "Lease", False)

    @property
    def selector(self) -> str | None:
        """Label selector of the objects that concern the operator; None for all of the kind."""
        return RUN_LABEL if self.value.ours else None

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL's path: of one object, of a namespace's, or of the whole cluster's."""
        version = self.value.api_version
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        parts = [root, f"namespaces/{namespace}" if namespace else None, self.value.plural, name, subresource]
        return "/".join(part for part in parts if part)


KEPT = (Kind.RUN, Kind.JOB, Kind.POD, Kind.CLAIM, Kind.CONFIG_MAP, Kind.SERVICE, Kind.NETWORK_POLICY)
"""What the cache holds."""

WATCHED = (Kind.RUN, Kind.JOB, Kind.POD, Kind.CLAIM)
"""What moves by itself; the other kinds change only where a person meddles, and the resync finds that."""


def kind_of(manifest: dict[str, object]) -> Kind:
    """The kind of a manifest. Raises StopIteration on one that the operator never makes: a defect."""
    return next(kind for kind in Kind if (kind.value.api_version, kind.value.kind) == (manifest["apiVersion"], manifest["kind"]))
