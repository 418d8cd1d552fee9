"""What keeps a stage from beginning, and how an attempt that has begun is: each with field or object, what was found, what was expected, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from medfinetune_api.choices import WORK, AccessMode, Stage
from medfinetune_api.conditions import ConditionReason, ConditionType
from medfinetune_api.rules import GPUS_BY_PARALLELISM
from medfinetune_api.spec import FineTuneSpec
from medfinetune_api.status import Attempt

from medfinetune_operator.conditions import is_true
from medfinetune_operator.draft import Draft, Waiting
from medfinetune_operator.observation import Claim, Job, Pod
from medfinetune_operator.resources.stages import reads_base
from medfinetune_operator.settings import Allowed, Defaults

READ_ONLY_MANY = "ReadOnlyMany"
SHOWN = 4
"""Most choices that a message spells out: the remedy must fit behind them."""


def not_allowed(draft: Draft, stage: Stage) -> Waiting | None:
    """What the spec asks for that the cluster's administrator has not allowed: the operator must not lend its rights."""
    if draft.run.spec is None:
        return None
    for field, found, allowed, choices in _asked(draft.run.spec, draft.settings.allowed, draft.settings.trainer_image):
        if found not in choices:
            expected = (
                f"expected one of {', '.join(map(str, choices[:SHOWN]))}{' ...' if len(choices) > SHOWN else ''}"
                if choices
                else "expected none, for nothing is allowed"
            )
            remedy = f"Leave it out, or ask the cluster's administrator to add it to `allowed.{allowed}` in the operator's settings."
            return Waiting(ConditionReason.NOT_ALLOWED, f"spec.{field}: found {found}; {expected}. {remedy}")
    return _gpus_by_hand(draft.run.spec, draft.settings.defaults)


def claims_wait(draft: Draft, stage: Stage) -> Waiting | None:
    """A claim that is missing, lost, or cannot be mounted where the gang needs it. Looked at before any stage: no GPU is asked for in vain."""
    made = draft.run.spec is not None and draft.run.spec.output.volume.claim_template is not None
    for claim in draft.seen.claims:
        output = is_output(claim)
        if not output and claim.field not in _read_by(draft, stage):
            continue
        if claim.phase is None and output and is_true(draft.status, ConditionType.PREPARED):
            return _claim(
                draft, claim, ConditionReason.CLAIM_LOST, "found none of that name, though prepare has written to it", "the claim that holds the run's folder"
            )
        if claim.phase is None and not (made and output):
            return _claim(draft, claim, ConditionReason.CLAIM_MISSING, "found none of that name", "a PersistentVolumeClaim in the run's namespace")
        if claim.phase == "Lost":
            return _claim(draft, claim, ConditionReason.CLAIM_LOST, "found it without its volume (phase Lost)", "a claim that is bound or can be")
        expected = _modes(output)
        if claim.phase and draft.run.spec and draft.run.spec.parallelism.nodes > 1 and not set(expected) & set(map(str, claim.access_modes)):
            found = f"found access modes {', '.join(map(str, claim.access_modes)) or 'none'}"
            wanted = f"{' or '.join(expected)}, for spec.parallelism.nodes is {draft.run.spec.parallelism.nodes}"
            return _claim(draft, claim, ConditionReason.VOLUME_NOT_SHARED, found, wanted)
    return None


def _read_by(draft: Draft, stage: Stage) -> tuple[str, ...]:
    """Fields of the claims that a stage reads besides the output's."""
    if stage in WORK:
        return ("spec.model.volume", "spec.data.volume")
    return ("spec.model.volume",) if draft.run.spec and reads_base(draft.run, stage) else ()


def is_output(claim: Claim) -> bool:
    """Whether a claim is the one that receives the run's folder."""
    return "output" in claim.field.split(".")


def others_wait(draft: Draft, stage: Stage) -> Waiting | None:
    """Another Job of the run that lives, or a pod that has not ended: two attempts must never write at once."""
    if (pod := next((pod for pod in draft.seen.pods if not pod.ended), None)) is not None:
        return node_lost(draft, draft.seen.pods) or Waiting(ConditionReason.STOPPING, f"Pod {pod.name} of an earlier attempt is still ending.")
    job = next((job for job in draft.seen.jobs if job.owned and job.live), None)
    return Waiting(ConditionReason.STOPPING, f"{job.name} of an earlier attempt is still being stopped.") if job else None


def node_lost(draft: Draft, pods: tuple[Pod, ...]) -> Waiting | None:
    """A pod that should have gone long ago: its node cannot say whether it still writes. It is never forced."""
    for pod in pods:
        if pod.deletion and not pod.ended and draft.reached(pod.deletion + timedelta(seconds=draft.settings.node_lost_seconds)):
            found = f"Node {pod.node or 'unknown'} does not say that pod {pod.name} has ended, and it may still write."
            return Waiting(ConditionReason.NODE_LOST, f"{found} {draft.remedy(ConditionReason.NODE_LOST)}")
    return None


def uncreatable(draft: Draft, attempt: Attempt) -> Waiting | None:
    """Why the Job of a decided attempt must not be created now."""
    if draft.seen.job(attempt.stage, attempt.number):
        return _troubled(draft, attempt, ConditionReason.NAME_TAKEN)
    return not_allowed(draft, attempt.stage) or others_wait(draft, attempt.stage)


def refused(draft: Draft, attempt: Attempt) -> Waiting | None:
    """How the API server refused the Job, or a child before it, at the last try."""
    if draft.seen.refusal is None:
        return None
    reason, fields = draft.seen.refusal
    if reason is ConditionReason.OBJECT_INVALID:
        found = f"{draft.job_name(attempt)} cannot be made: Kubernetes finds invalid {', '.join(fields[:FIELDS_TOLD])}."
        return Waiting(reason, f"{found} {draft.remedy(reason)}")
    return _troubled(draft, attempt, reason)


def standing(draft: Draft, attempt: Attempt, job: Job) -> Waiting:
    """How an attempt is whose Job lives and that nobody stops."""
    name, pods = draft.job_name(attempt), draft.pods(attempt)
    if lost := node_lost(draft, pods):
        return lost
    if job.deleting:
        return Waiting(ConditionReason.STOPPING, f"{name} is being deleted, and not by the operator.")
    if job.suspended:
        return Waiting(ConditionReason.QUEUED, f"{name} is suspended: it waits for Kueue, or for whoever suspended it.")
    if attempt.running_time:
        return Waiting(ConditionReason.RUNNING, f"{name} is at work.")
    troubles = {job.trouble, *(pod.trouble for pod in pods if not pod.ended)}
    if trouble := next((each for each in _TROUBLES if each in troubles), None):
        return _troubled(draft, attempt, trouble)
    return Waiting(ConditionReason.STARTING, f"The pods of {name} are being started.")


FIELDS_TOLD = 3
_TROUBLES = {
    ConditionReason.QUOTA_EXCEEDED: "a ResourceQuota of the namespace leaves no room for it or its pods.",
    ConditionReason.ADMISSION_REFUSED: "admission control refuses it or its pods.",
    ConditionReason.IMAGE_PULL_FAILED: "a node cannot get the trainer's image.",
    ConditionReason.CONTAINER_FAILED: "a node cannot start the trainer's container.",
    ConditionReason.UNSCHEDULABLE: "no node has room for a pod of it.",
    ConditionReason.NAME_TAKEN: "an object with the name of one of the run's own exists and belongs to another.",
}


def _troubled(draft: Draft, attempt: Attempt, trouble: ConditionReason) -> Waiting:
    return Waiting(trouble, f"{draft.job_name(attempt)}: {_TROUBLES[trouble]} {draft.remedy(trouble)}")


def _asked(spec: FineTuneSpec, allowed: Allowed, own_image: str) -> Iterator[tuple[str, object, str, tuple[object, ...]]]:
    """Field, what it asks for, the setting that would allow it, and what that allows."""
    if spec.pods.image:
        yield "pods.image", spec.pods.image, "images", (own_image, *allowed.images)
    if spec.scheduling.priority_class_name:
        yield "scheduling.priorityClassName", spec.scheduling.priority_class_name, "priorityClasses", allowed.priority_classes
    if spec.scheduling.runtime_class_name:
        yield "scheduling.runtimeClassName", spec.scheduling.runtime_class_name, "runtimeClasses", allowed.runtime_classes
    tolerations = tuple(each.to_json() for each in allowed.tolerations)
    for number, toleration in enumerate(spec.scheduling.tolerations):
        yield f"scheduling.tolerations[{number}]", toleration.to_json(), "tolerations", tolerations
    for key in spec.pods.labels or ():
        yield f"pods.labels[{key}]", key, "labels", allowed.labels
    for key in spec.pods.annotations or ():
        yield f"pods.annotations[{key}]", key, "annotations", allowed.annotations


def _gpus_by_hand(spec: FineTuneSpec, defaults: Defaults) -> Waiting | None:
    """GPUs asked for besides parallelism.gpusPerNode, by the name that is the default here, which the schema could not know."""
    asked, rule = spec.resources.model_copy(update={"gpu_resource": spec.resources.gpu_resource or defaults.gpu_resource}), GPUS_BY_PARALLELISM
    if rule.holds(asked):
        return None
    found = f"{asked.gpu_resource}, by which this cluster asks for GPUs, among them"
    return Waiting(ConditionReason.NOT_ALLOWED, f"spec.resources: found {found}; expected {rule.expected}. {rule.remedy}")


def _modes(output: bool) -> tuple[str, ...]:
    """Access modes of which a gang on several nodes needs one."""
    return (AccessMode.READ_WRITE_MANY.value,) if output else (AccessMode.READ_WRITE_MANY.value, READ_ONLY_MANY)


def _claim(draft: Draft, claim: Claim, reason: ConditionReason, found: str, expected: str) -> Waiting:
    return Waiting(reason, f"{claim.field}: {found} ({claim.name}); expected {expected}. {draft.remedy(reason)}")
