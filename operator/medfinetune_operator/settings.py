"""What the cluster's administrator decides: one JSON or YAML file, read at start (`--config FILE`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from medfinetune_api.base import Contract
from medfinetune_api.rules import USUAL_GPU
from medfinetune_api.scalars import BoundedKey
from medfinetune_api.spec_pods import TolerationSpec
from pydantic import Field


class Allowed(Contract):
    """What a run may ask for. The operator makes pods with its own rights, so whatever is not allowed here is refused: everything, by default."""

    images: tuple[str, ...] = ()
    """Trainer images besides the operator's own, exactly as a run names them."""
    priority_classes: tuple[str, ...] = ()
    """PriorityClasses."""
    runtime_classes: tuple[str, ...] = ()
    """RuntimeClasses."""
    tolerations: tuple[TolerationSpec, ...] = ()
    """Tolerations; a run's toleration must equal one of them."""
    labels: tuple[str, ...] = ()
    """Keys of pod labels: a label may put a pod behind somebody else's Service or policy."""
    annotations: tuple[str, ...] = ()
    """Keys of pod annotations: an annotation may give a pod a network or a cloud role."""


class Defaults(Contract):
    """What a run gets that does not say otherwise. An attempt takes what stands here when it begins, a claim when it is made."""

    gpu_resource: BoundedKey = USUAL_GPU
    """Extended resource that GPUs are asked by: also amd.com/gpu, or a MIG profile such as nvidia.com/mig-3g.20gb."""
    storage_class_name: str = ""
    """StorageClass of output claims made from a template; empty leaves it to the cluster."""
    queue_name: str = ""
    """Kueue's LocalQueue, in the namespace of each run; empty queues nothing."""


class Settings(Contract):
    """How this operator works."""

    trainer_image: str
    """Image of the stages."""
    image_pull_policy: str = "IfNotPresent"
    """Always, IfNotPresent or Never."""
    allowed: Allowed = Allowed()
    """What a run may ask for beyond the defaults."""
    defaults: Defaults = Defaults()
    """What a run gets that does not say otherwise."""
    watch_namespaces: tuple[str, ...] = ()
    """Namespaces whose runs are carried; empty means all, which needs a ClusterRole (docs/security.md)."""
    release: bool = False
    """Whether an annotation releases a quarantined run. Only with the chart's admission policy (admissionPolicies.release): without it, whoever may edit runs
    could set one, in anybody's name."""
    requester: bool = False
    """Whether the annotation medfinetune.io/requester names who asked for a run. Only with the chart's admission policy
    (admissionPolicies.requester): without it, whoever may create runs could write anybody's name, and lineages say `unknown`."""
    signing_secret: str = ""
    """Name of the Secret, in the namespace of each run, whose key.pem signs lineages; empty signs none. Who may make pods there can read it."""
    pod_security: Mapping[str, Any] = {"runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532}
    """Ids of the pods; empty where the platform assigns them (OpenShift)."""
    stop_seconds: Annotated[float, Field(gt=0, le=86400)] = 600
    """Seconds that a stage may take to write its checkpoint after SIGTERM; the pods' grace period is 30 s longer."""
    backoff_seconds: Annotated[float, Field(ge=0)] = 10
    """Wait before the first retry of a charged failure; doubles up to 360 s."""
    queue_seconds: Annotated[float, Field(ge=0)] = 30
    """Wait before a gang that gave its GPUs back queues again, for each run that is older and waits too, and with jitter."""
    progress_seconds: Annotated[float, Field(gt=0)] = 15
    """Seconds between two looks at a training run's progress."""
    resync_seconds: Annotated[float, Field(gt=0, le=300)] = 120
    """Seconds between two looks at every object, with jitter: what no event told is found here. Looks at a run are up to 1.6 times as far apart, and alerts
    take an operator that looks at none for 10 minutes for broken."""
    node_lost_seconds: Annotated[float, Field(ge=0)] = 300
    """Seconds after the grace period until a pod that has not gone means a lost node."""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """`/metrics` of the operator itself, `/healthz` and `/readyz`; 0 takes a free port."""
    operator_namespace_selector: Mapping[str, Any] = {"matchLabels": {"kubernetes.io/metadata.name": "medfinetune-system"}}
    """Label selector of the operator's namespace, for the run's NetworkPolicy."""
    scraper_namespace_selector: Mapping[str, Any] = {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    """Label selector of Prometheus' namespace, for the run's NetworkPolicy."""
    dns_egress: Mapping[str, Any] = {
        "to": [{"namespaceSelector": {}}, {"ipBlock": {"cidr": "169.254.20.10/32"}}],
        "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
    }
    """Egress rule by which pods reach the cluster's DNS, for the run's NetworkPolicy: pods of the cluster and NodeLocal DNSCache, no resolver outside.
    OpenShift's DNS pods listen on 5353; DNS pods on their node's own network need an ipBlock."""
    lease_namespace: str = "medfinetune-system"
    """Namespace of the Lease that keeps two operators apart."""
    lease_name: str = "medfinetune-operator"
    """Name of that Lease."""
    lease_seconds: Annotated[float, Field(gt=1)] = 15
    """Seconds after its last renewal until the Lease may be taken over."""

    @classmethod
    def load(cls, file: Path) -> Settings:
        """Read a settings file. Raises pydantic's ValidationError or OSError: the operator does not start on half a configuration."""
        return cls.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
