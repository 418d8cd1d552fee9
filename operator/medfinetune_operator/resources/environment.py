"""What a pod's trainer is told by its environment: its place in the gang as torchrun says it, its attempt, where it is to be asked."""

from __future__ import annotations

from typing import Any

from medfinetune_api.choices import Stage
from medfinetune_api.objects import INDEX_LABEL, METRICS_PORT, RENDEZVOUS_PORT, SIGNING_FOLDER, SIGNING_KEY, job_name
from medfinetune_api.results_gates import ReleaseRequest
from medfinetune_api.status import Attempt

from medfinetune_operator.resources.stages import gpus_of, signs
from medfinetune_operator.run import Run
from medfinetune_operator.settings import Settings

STALL_SHARE = 0.8
"""Of the stall timeout: a gang that sees itself stand still names the rank and the line of code, the operator, which waits the whole of it, only the rank. What
is left lets nodes that wait for another's rank give it time to speak first."""


def environment(run: Run, attempt: Attempt, settings: Settings) -> list[dict[str, Any]]:
    """The container's variables, the user's last; theirs cannot have a name of ours, the schema refuses it."""
    assert run.spec is not None
    values = _product(run, attempt, settings) | _ranks(run, attempt) | _without_gpu(run, attempt.stage)
    own = [{"name": name, "value": value} for name, value in values.items()]
    return [*own, *_node_rank(run, attempt.stage), *({"name": each.name, "value": each.value} for each in run.spec.pods.env)]


def _product(run: Run, attempt: Attempt, settings: Settings) -> dict[str, str]:
    assert run.spec is not None
    fixed = {
        "HOME": "/tmp",
        "MEDFINETUNE_ATTEMPT": str(attempt.number),
        "MEDFINETUNE_IMAGE": run.spec.pods.image or settings.trainer_image,
        "MEDFINETUNE_METRICS_HOST": "0.0.0.0",
        "MEDFINETUNE_METRICS_PORT": str(METRICS_PORT),
        "MEDFINETUNE_STALL_SECONDS": str(max(1, int(STALL_SHARE * run.spec.run_policy.stall_timeout_seconds))),
        "MEDFINETUNE_STOP_SECONDS": str(settings.stop_seconds),
    }
    halved = {"MEDFINETUNE_MICRO_BATCH": str(attempt.micro_batch)} if attempt.micro_batch else {}
    return fixed | halved | _decision(run, attempt.stage) | _lineage(run, attempt.stage, settings)


def _decision(run: Run, stage: Stage) -> dict[str, str]:
    """Who releases the run and why, word for word: Kubernetes would put other variables in the place of `$(NAME)`, and reads `$$` as `$`."""
    if stage is not Stage.RELEASE or not isinstance(run.release, ReleaseRequest):
        return {}
    words = {"MEDFINETUNE_RELEASED_BY": run.release.by, "MEDFINETUNE_RELEASE_REASON": run.release.reason}
    return {name: _literal(text) for name, text in words.items()}


def _lineage(run: Run, stage: Stage, settings: Settings) -> dict[str, str]:
    """Who asked for the run, where the admission policy has proved it and else nobody; and the key that signs."""
    name = run.status.requester or ""
    asked = {"MEDFINETUNE_REQUESTER": _literal(name), "MEDFINETUNE_REQUESTER_VERIFIED": "true" if name else "false"}
    return asked | ({"MEDFINETUNE_SIGNING_KEY": f"{SIGNING_FOLDER}/{SIGNING_KEY}"} if signs(stage, settings.signing_secret) else {})


def _literal(text: str) -> str:
    """What Kubernetes reads as `text`."""
    return text.replace("$", "$$")


def _ranks(run: Run, attempt: Attempt) -> dict[str, str]:
    """Of a gang, its size and where its nodes meet: at its first pod, by a name that the headless Service answers for before any pod is ready."""
    assert run.spec is not None
    if not run.is_gang(attempt.stage):
        return {"PET_NNODES": "1", "PET_NPROC_PER_NODE": "1"}
    return {
        "PET_NNODES": str(run.pods_of(attempt.stage)),
        "PET_NPROC_PER_NODE": str(max(1, run.spec.parallelism.gpus_per_node)),
        "MASTER_ADDR": f"{job_name(run.name, attempt.stage, attempt.number)}-0.{run.identity.folder}",
        "MASTER_PORT": str(RENDEZVOUS_PORT),
    }


def _node_rank(run: Run, stage: Stage) -> list[dict[str, Any]]:
    """The pod's index in its Job; one template serves all pods, so the value comes from the annotation that the Job controller sets."""
    source = {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX_LABEL}']"}}
    return [{"name": "PET_NODE_RANK", "valueFrom": source}] if run.is_gang(stage) else []


def _without_gpu(run: Run, stage: Stage) -> dict[str, str]:
    """CUDA images ask for every GPU of the node by a variable of their own; where NVIDIA's runtime is the default it would hand them out unasked."""
    return {} if gpus_of(run, stage) else {"NVIDIA_VISIBLE_DEVICES": "void"}
