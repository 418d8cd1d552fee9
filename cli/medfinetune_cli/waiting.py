"""What a run waits for, in plain words, and who can mend it how. The operator says what it sees; this adds the command to type next."""

from __future__ import annotations

from dataclasses import dataclass

from medfinetune_api.conditions import ConditionReason as Reason
from medfinetune_api.conditions import ConditionStatus, ConditionType

from medfinetune_cli.run_state import RunState

REMEDIES: dict[Reason, str] = {
    Reason.NOT_ALLOWED: "Ask an administrator to allow it in the operator's settings, or leave it out in a new run.",
    Reason.CLAIM_MISSING: "Create the claim: kubectl get pvc -n {namespace} lists those there are. The run goes on by itself.",
    Reason.CLAIM_LOST: "Restore the claim's volume: kubectl describe pvc -n {namespace}.",
    Reason.VOLUME_NOT_SHARED: "Use a ReadWriteMany volume, or one node, in a new run.",
    Reason.NAME_TAKEN: "Remove the object of that name, or submit the manifest under another name.",
    Reason.QUOTA_EXCEEDED: "Free room or ask for more: kubectl describe quota -n {namespace}. The run goes on by itself.",
    Reason.OBJECT_INVALID: "Correct the named fields in spec.resources, scheduling or pods and submit under another name; or tell who installed the chart.",
    Reason.ADMISSION_REFUSED: "Ask an administrator which policy refuses the pods: kubectl get events -n {namespace}.",
    Reason.IMAGE_PULL_FAILED: "Check image and pull secret: kubectl describe pods -n {namespace} -l {selector}.",
    Reason.UNSCHEDULABLE: "See what no node offers: kubectl describe pods -n {namespace} -l {selector}. The run goes on once there is room.",
    Reason.STARTING: "Nothing to do: images are pulled and volumes mounted. If it lasts: kubectl describe pods -n {namespace} -l {selector}.",
    Reason.QUEUED: "Nothing to do: Kueue admits it in its turn. kubectl get workloads.kueue.x-k8s.io -n {namespace} shows the queue.",
    Reason.STOPPING: "Nothing to do: pods write their checkpoint before they end.",
    Reason.NODE_LOST: "Ask an administrator to declare the node dead (out-of-service taint) or to delete the Node.",
    Reason.BACKING_OFF: "Nothing to do: the next attempt starts by itself.",
    Reason.SUSPENDED: "Continue it: medfinetune resume {name} -n {namespace}.",
    Reason.PURGE_FAILED: "Remove the working files from the output volume by hand: they may hold record text.",
}
"""What to do about each reason that a run can wait with; filled with name, namespace and the pods' label selector."""

UNSEEN = "the operator: it has not looked at this run yet"
UNSEEN_REMEDY = "If it lasts, see whether the operator runs: kubectl get pods -A -l app.kubernetes.io/name=medfinetune-operator."


@dataclass(frozen=True)
class Wait:
    """What is waited for, and what to do."""

    what: str
    remedy: str


def wait_of(run: RunState) -> Wait | None:
    """What keeps the run from going on; None where it is at work or has ended in good order."""
    purged = run.condition(ConditionType.PURGED)
    if run.ended:
        failed = purged is not None and purged.reason is Reason.PURGE_FAILED
        return _wait(run, Reason.PURGE_FAILED, purged.message) if failed and purged else None
    if not run.status.conditions:
        return Wait(UNSEEN, UNSEEN_REMEDY)
    present = run.present
    if present is None or present.reason not in REMEDIES or (present.status is ConditionStatus.TRUE and present.type is not ConditionType.SUSPENDED):
        return None
    return _wait(run, present.reason, present.message)


def _wait(run: RunState, reason: Reason, message: str) -> Wait:
    from medfinetune_api.objects import RUN_LABEL

    names = {"name": run.name, "namespace": run.identity.namespace, "selector": f"{RUN_LABEL}={run.name}"}
    return Wait(message, REMEDIES[reason].format_map(names))
