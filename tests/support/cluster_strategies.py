"""Hypothesis strategies: runs as the operator reads them, over all that a manifest may say to a cluster and a cluster take, with attempts and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from medfinetune_api.choices import Stage
from medfinetune_api.status import Attempt
from medfinetune_operator.run import Run, read_run
from medfinetune_operator.settings import Settings
from support.manifests import claim, minimal_manifest

PRIORITY_CLASS, RUNTIME_CLASS = "ward", "sandboxed"
"""What a cluster must have for the pods to be admitted."""

Parts = st.SearchStrategy[dict[str, Any]]


def _some(**fields: st.SearchStrategy[Any]) -> Parts:
    return st.fixed_dictionaries({}, optional=fields)


_LABELS = st.dictionaries(st.sampled_from(["team", "ward.example/floor"]), st.sampled_from(["", "icu", "A.b_c-9"]), max_size=2)
_REQUIREMENTS = st.sampled_from([[], [{"key": "zone", "operator": "In", "values": ["a", "b"]}], [{"key": "spot", "operator": "DoesNotExist"}]])
_TERM = _some(matchExpressions=_REQUIREMENTS, matchFields=st.just([{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]))
_PODS = st.fixed_dictionaries(
    {"labelSelector": _some(matchLabels=_LABELS, matchExpressions=_REQUIREMENTS), "topologyKey": st.just("zone")}, optional={"namespaces": st.just(["other"])}
)


def _preferred(name: str, what: Parts) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(st.fixed_dictionaries({"weight": st.integers(1, 100), name: what}), max_size=2)


_NODE_AFFINITY = _some(
    requiredDuringSchedulingIgnoredDuringExecution=st.fixed_dictionaries({"nodeSelectorTerms": st.lists(_TERM, min_size=1, max_size=2)}),
    preferredDuringSchedulingIgnoredDuringExecution=_preferred("preference", _TERM),
)
_POD_AFFINITY = _some(
    requiredDuringSchedulingIgnoredDuringExecution=st.lists(_PODS, max_size=2),
    preferredDuringSchedulingIgnoredDuringExecution=_preferred("podAffinityTerm", _PODS),
)
_TOLERATION = st.sampled_from(
    [
        {"operator": "Exists"},
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "ward", "value": "icu", "effect": "NoExecute", "tolerationSeconds": 60},
    ]
)
_SCHEDULING = _some(
    nodeSelector=_LABELS,
    tolerations=st.lists(_TOLERATION, max_size=3),
    affinity=_some(nodeAffinity=_NODE_AFFINITY, podAffinity=_POD_AFFINITY, podAntiAffinity=_POD_AFFINITY),
    priorityClassName=st.just(PRIORITY_CLASS),
    runtimeClassName=st.just(RUNTIME_CLASS),
    queueName=st.just("gpus"),
)

_NEEDS = _some(
    requests=_some(cpu=st.sampled_from([1, "500m", "1.5"]), memory=st.just("1Gi")),
    limits=_some(cpu=st.sampled_from([2, "2500m"]), memory=st.just("4Gi")),
)
_RESOURCES = _some(
    prepare=_NEEDS,
    train=_NEEDS,
    evaluate=_NEEDS,
    sharedMemory=st.sampled_from(["64Mi", "8Gi"]),
    gpuResource=st.sampled_from(["nvidia.com/gpu", "amd.com/gpu"]),
    gpuMemory=st.just("24Gi"),
)
_POD_PARTS = _some(
    image=st.just("registry.example/trainer@sha256:" + "0" * 64),
    imagePullSecrets=st.just([{"name": "pull"}]),
    env=st.lists(
        st.fixed_dictionaries({"name": st.sampled_from(["TZ", "NCCL_B9"]), "value": st.sampled_from(["", "a $(B) \n"])}), unique_by=lambda e: e["name"]
    ),
    labels=_LABELS,
    annotations=st.dictionaries(st.just("note.example/why"), st.text("aé\n", max_size=9)),
)


@st.composite
def bodies(draw: st.DrawFn, namespace: str) -> dict[str, Any]:
    """A MedFineTune as the API server has it, in `namespace`: varied in what the cluster has to do with; one claim may serve several roles."""
    claims = st.sampled_from(["models", "datasets", "results"]).map(claim)
    parallelism = {"nodes": draw(st.integers(1, 256)), "gpusPerNode": draw(st.integers(0, 16))}
    volumes = {"model": {"volume": draw(claims)}, "data": {"volume": draw(claims)}}
    manifest = minimal_manifest(**volumes, parallelism=parallelism, resources=draw(_RESOURCES), scheduling=draw(_SCHEDULING), pods=draw(_POD_PARTS))
    manifest["spec"]["output"] = {"volume": draw(claims | _template())}
    manifest["metadata"]["name"] = draw(st.sampled_from(["a", "run-1", "r" * 40]))
    return stored(manifest, namespace, _prepared(draw(st.none() | st.booleans())))


def _template() -> Parts:
    modes = st.sampled_from([["ReadWriteMany"], ["ReadWriteOnce", "ReadWriteMany"]])
    return st.fixed_dictionaries({"storage": st.just("10Gi"), "accessModes": modes}, optional={"storageClassName": st.just("fast")}).map(
        lambda template: {"claimTemplate": template}
    )


def _prepared(on_gang: bool | None) -> dict[str, Any]:
    return {} if on_gang is None else {"prepared": {"microBatch": 4, "totalSteps": 9, "evaluateOnGang": on_gang}}


def stored(manifest: Mapping[str, Any], namespace: str, status: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`manifest` with what the API server adds."""
    added = {"namespace": namespace, "uid": "12345678-9abc-4def-8123-456789abcdef", "creationTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "1"}
    return {**manifest, "metadata": {**manifest["metadata"], **added}, "status": dict(status or {})}


def runs(namespace: str) -> st.SearchStrategy[Run]:
    """A run that resolves."""
    return bodies(namespace).map(read_run)


ATTEMPTS = st.fixed_dictionaries(
    {"stage": st.sampled_from(Stage), "number": st.integers(1, 9999), "startTime": st.just("2026-01-01T00:00:00Z")},
    optional={"microBatch": st.integers(1, 4096)},
).map(Attempt.model_validate)

SETTINGS = st.fixed_dictionaries(
    {"trainerImage": st.just("trainer:1")},
    optional={
        "imagePullPolicy": st.sampled_from(["Always", "IfNotPresent", "Never"]),
        "podSecurity": st.sampled_from([{}, {"runAsUser": None, "supplementalGroups": [7]}]),
        "stopSeconds": st.floats(0.1, 86400),
    },
).map(Settings.model_validate)
