"""What a manifest says to the cluster: what the pods ask for, where they may run, and how long and how often the run is tried.

A single machine has no pods: `medfinetune run` reads none of this but `resources.gpuMemory`. Names and meanings are those of Kubernetes' own Pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from medfinetune_api import rules
from medfinetune_api.affinity import AffinitySpec
from medfinetune_api.base import Contract
from medfinetune_api.choices import TaintEffect, TolerationOperator
from medfinetune_api.ruled import Ruled
from medfinetune_api.scalars import (
    ENTRIES,
    BoundedKey,
    ClaimName,
    Decay,
    EnvironmentName,
    EnvironmentValue,
    Image,
    LabelValue,
    MemoryQuantity,
    PodQuantity,
    Restarts,
    Seconds,
    TolerationKey,
)

Quantities = Annotated[Mapping[BoundedKey, PodQuantity], Field(max_length=16)]
Selector = Annotated[Mapping[BoundedKey, LabelValue], Field(max_length=32)]


class ResourceRequirements(Contract):
    """What one pod asks for, as in a Pod's container. GPUs are asked for by parallelism.gpusPerNode."""

    requests: Quantities | None = None
    """What the scheduler sets aside, such as {cpu: 4, memory: 32Gi}. Default: the limits, or nothing."""
    limits: Quantities | None = None
    """What the pod may use at most. Default: no limit but the namespace's."""


class ResourcesSpec(Ruled):
    """What the pods of each stage ask for."""

    rules = (rules.GPUS_BY_PARALLELISM,)

    prepare: ResourceRequirements | None = None
    """Of the prepare pod, which has no GPU. Default: nothing."""
    train: ResourceRequirements | None = None
    """Of each pod of the gang, besides its GPUs. Default: nothing."""
    evaluate: ResourceRequirements | None = None
    """Of each evaluate pod, besides its GPU. Default: those of train."""
    shared_memory: MemoryQuantity = "1Gi"
    """Size of /dev/shm in each train and evaluate pod, which counts against its memory limit. Default 1Gi."""
    gpu_resource: BoundedKey | None = None
    """Extended resource that the cluster offers GPUs under, such as amd.com/gpu or nvidia.com/mig-3g.20gb. Default: the administrator's, or nvidia.com/gpu."""
    gpu_memory: MemoryQuantity | None = None
    """Memory of one GPU, such as 24Gi: prepare chooses sharding, checkpointing and micro-batch that fit it, and refuses a run that cannot. Default: prepare
    takes the smallest micro-batch and does not refuse."""
    gpu_memory_headroom: Decay = 0.2
    """Share of gpuMemory that the plan leaves free for what it cannot know, 0 to below 1. Default 0.2."""


class TolerationSpec(Ruled):
    """A taint that the pods tolerate, as in a Pod; only those that the cluster's administrator allows."""

    rules = (rules.TOLERATION_KEY, rules.TOLERATION_VALUE, rules.TOLERATION_SECONDS)

    key: TolerationKey | None = None
    """Key of the taint; absent, with operator Exists, tolerates all."""
    operator: TolerationOperator = TolerationOperator.EQUAL
    """Exists, or Equal. Default Equal."""
    value: LabelValue | None = None
    """Value of the taint, with Equal."""
    effect: TaintEffect | None = None
    """NoSchedule, PreferNoSchedule or NoExecute. Default: every effect."""
    toleration_seconds: Seconds | None = None
    """Seconds until eviction, with NoExecute. Default: never."""


class SchedulingSpec(Contract):
    """Where the pods may run, and who comes first."""

    node_selector: Selector | None = None
    """Labels that a node must have. Default: any node."""
    tolerations: Annotated[tuple[TolerationSpec, ...], Field(max_length=16)] = ()
    """Taints that the pods tolerate, at most 16. Default none."""
    affinity: AffinitySpec | None = None
    """Rules about nodes and other pods, as in a Pod. Default none."""
    priority_class_name: ClaimName | None = None
    """PriorityClass; only one that the cluster's administrator allows. Default: the namespace's."""
    runtime_class_name: ClaimName | None = None
    """RuntimeClass; only one that the cluster's administrator allows. Default: the node's."""
    queue_name: ClaimName | None = None
    """Kueue's LocalQueue: Jobs are created suspended, and Kueue admits them. Default: the administrator's, or no queue."""


class EnvironmentVariable(Ruled):
    """One environment variable of every pod."""

    rules = (rules.ENVIRONMENT_TUNES,)

    name: EnvironmentName
    """Name of the variable: one that tunes communication, threads or memory, such as NCCL_SOCKET_IFNAME or OMP_NUM_THREADS; any other is refused."""
    value: EnvironmentValue
    """Its value. No place for secrets: whoever may read the run can read it."""


class SecretReference(Contract):
    """A Secret in the run's own namespace."""

    name: ClaimName
    """Name of the Secret."""


class PodsSpec(Ruled):
    """What every pod of the run carries."""

    rules = (rules.LABELS_NOT_RESERVED, rules.ANNOTATIONS_NOT_RESERVED, rules.ENVIRONMENT_UNIQUE)

    image: Image | None = None
    """Trainer image; only one that the cluster's administrator allows. Default: the operator's."""
    image_pull_secrets: Annotated[tuple[SecretReference, ...], Field(max_length=8)] = ()
    """Secrets to pull the image with, at most 8. Default none."""
    env: Annotated[tuple[EnvironmentVariable, ...], Field(max_length=ENTRIES)] = ()
    """Environment variables, at most 64. Default none."""
    labels: Selector | None = None
    """Labels of the pods; only keys that the cluster's administrator allows. Default none."""
    annotations: Annotated[Mapping[BoundedKey, EnvironmentValue], Field(max_length=32)] | None = None
    """Annotations of the pods. Default none."""


class RunPolicySpec(Contract):
    """How the run is tried; the one part of the spec that may be changed while it exists."""

    suspend: bool = False
    """Whether the run pauses: it writes a checkpoint, gives its GPUs back, and continues once this is false. Default false."""
    cancel: bool = False
    """Whether the run ends for good, with a checkpoint. Cannot be taken back. Default false."""
    max_restarts: Restarts = 3
    """Charged failures that are tried again, over all stages, 0 to 100. Evictions and suspensions are not charged. Default 3."""
    active_deadline_seconds: Seconds | None = None
    """Seconds that all attempts together may take, waiting and suspension left out; then the run fails. Default: no limit."""
    ttl_seconds_after_finished: Seconds | None = None
    """Seconds after the end when Jobs and other children are deleted; the run itself and its results stay. Default: they stay with the run."""
    scheduling_timeout_seconds: Seconds = 900
    """Seconds within which the whole gang must be running, or it gives its GPUs back and queues again. Default 900."""
    stall_timeout_seconds: Seconds = 1800
    """Seconds without a training step, counted from when the gang runs, after which the attempt is stopped and charged. Default 1800."""
