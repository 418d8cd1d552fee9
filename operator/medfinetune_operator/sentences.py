"""What a reason means, and what a person can do about it: the words of conditions and events. Composed of names and numbers, never of what a pod said."""

from __future__ import annotations

from medfinetune_api.conditions import ConditionReason as Reason
from medfinetune_api.exits import EXITS

MEANINGS: dict[Reason, str] = {Reason(each.reason): each.meaning for each in EXITS.values()} | {
    Reason.DISRUPTED: "A pod was evicted, drained, preempted, or refused by its node.",
    Reason.EVIDENCE_LOST: "The Job or its pods vanished before their ending was seen.",
    Reason.SCHEDULING_TIMEOUT: "Not all of its pods ran within spec.runPolicy.schedulingTimeoutSeconds; it gave its GPUs back.",
    Reason.SUSPENDED: "spec.runPolicy.suspend is true.",
    Reason.CANCELLED: "spec.runPolicy.cancel is true.",
    Reason.DEADLINE_EXCEEDED: "All attempts together took longer than spec.runPolicy.activeDeadlineSeconds.",
}
"""Why an attempt ended, in one sentence: the exit table's, and what only a cluster knows."""

LOGS = "Read `medfinetune logs {run}`"
AGAIN = "then apply the manifest again under another name."

REMEDIES: dict[Reason, str] = {
    Reason.INTERNAL_ERROR: f"{LOGS}; the stack is there.",
    Reason.USAGE: "Ask the cluster's administrator for a trainer image of the operator's version.",
    Reason.INVALID_MANIFEST: f"{LOGS}, correct the spec, {AGAIN}",
    Reason.INVALID_DATA: f"{LOGS}: it names file and line. Correct the data, {AGAIN}",
    Reason.INVALID_MODEL: f"{LOGS}: it names what is wrong with the model folder. Correct it, {AGAIN}",
    Reason.DOES_NOT_FIT: f"Choose more or larger GPUs, or a smaller model, data.maxLength or training.microBatch, {AGAIN}",
    Reason.OUTPUT_CONFLICT: f"{LOGS}: it names whose the run folder is. Move that folder away, {AGAIN}",
    Reason.DIVERGED: f"Lower training.learningRate, or train in BF16, {AGAIN}",
    Reason.STORAGE_FAILED: f"Make room on claim {{claim}}, or bring its volume back, {AGAIN}",
    Reason.OUT_OF_MEMORY: f"Choose larger GPUs or more of them, a smaller data.maxLength, or training.activationCheckpointing: Enabled, {AGAIN}",
    Reason.STALLED: f"{LOGS}, and look at the named node's GPU and network, {AGAIN}",
    Reason.GANG_LOST: f"{LOGS}, and check that the nodes reach each other, {AGAIN}",
    Reason.HOST_OUT_OF_MEMORY: f"Raise the memory in spec.resources of this stage, {AGAIN}",
    Reason.GATE_FAILED: f"The run's report.html names the gates. Change data or training, {AGAIN} Or let somebody who may release it: docs/gates.md.",
    Reason.EVIDENCE_LOST: f"Leave Jobs and pods of a run to the operator (runPolicy.suspend and cancel stop them), {AGAIN}",
    Reason.CANCELLED: "To train it after all, apply the manifest under another name.",
    Reason.DEADLINE_EXCEEDED: f"Raise the deadline or choose more GPUs, {AGAIN}",
    Reason.SUSPENDED: "Run `medfinetune resume {run}` to continue.",
    Reason.CLAIM_MISSING: "Create the claim in the run's namespace, or apply the run under another name with a claim that exists.",
    Reason.CLAIM_LOST: "Restore the claim's volume, or apply the run under another name with another claim.",
    Reason.VOLUME_NOT_SHARED: "Apply the run under another name with a claim that several nodes can mount, or with parallelism.nodes: 1.",
    Reason.NAME_TAKEN: "Delete that object if nobody needs it, or apply the run under another name.",
    Reason.QUOTA_EXCEEDED: "Free quota in the namespace, or ask the cluster's administrator for more.",
    Reason.ADMISSION_REFUSED: "Ask the cluster's administrator which admission policy refuses it; the namespace's events may name it.",
    Reason.OBJECT_INVALID: "Correct them where they come from, spec.resources, scheduling or pods, in a run of another name; or the chart's values trainer.*.",
    Reason.IMAGE_PULL_FAILED: "Check the image's name and spec.pods.imagePullSecrets, and that the nodes reach the registry.",
    Reason.CONTAINER_FAILED: "Ask the cluster's administrator: `kubectl describe pod` says what the node lacks.",
    Reason.UNSCHEDULABLE: "Free room on the nodes, or apply the run under another name with smaller spec.resources; `kubectl describe pod` says what is short.",
    Reason.NODE_LOST: "If the node is powered off for good, taint it with node.kubernetes.io/out-of-service=nodeshutdown:NoExecute, or delete its Node object.",
    Reason.RELEASE_UNPROVEN: "Who may release: take both annotations away, then set them again.",
    Reason.RELEASE_FAILED: "Read `medfinetune logs {run} --stage release`; it may be released where its output volume is mounted, by `medfinetune release`.",
    Reason.PURGE_FAILED: "Read `medfinetune logs {run}`, then delete the working files in folder {folder} of claim {claim} by hand.",
}
"""What to do, where something is to be done. `{run}`, `{folder}` and `{claim}` are the run's own names."""

TROUBLES = frozenset(
    {
        Reason.NOT_ALLOWED,
        Reason.CLAIM_MISSING,
        Reason.CLAIM_LOST,
        Reason.VOLUME_NOT_SHARED,
        Reason.NAME_TAKEN,
        Reason.QUOTA_EXCEEDED,
        Reason.ADMISSION_REFUSED,
        Reason.OBJECT_INVALID,
        Reason.IMAGE_PULL_FAILED,
        Reason.CONTAINER_FAILED,
        Reason.UNSCHEDULABLE,
        Reason.NODE_LOST,
    }
)
"""What a run waits for that a person may have to change; each is an event once."""


def remedy(reason: Reason, **names: str) -> str:
    """The sentence that says what to do; empty where there is nothing."""
    return REMEDIES.get(reason, "").format(**names)
