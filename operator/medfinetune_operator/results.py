"""What a stage leaves in status when it has ended, from its termination message. A message may be lost: the volume has it all, and status says what is safe."""

from __future__ import annotations

from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import MICRO_BATCH, RESUME_STEP, StageResult
from medfinetune_api.status import Artifacts, Attempt, PreparedFacts
from pydantic import ValidationError

from medfinetune_operator.conditions import STAGE_CONDITION, is_terminal
from medfinetune_operator.draft import Draft
from medfinetune_operator.progress import complete_progress
from medfinetune_operator.releasing import is_quarantined, released

MOST_STEPS = 2**53 - 1
"""Highest count that status can hold."""
LARGEST_MICRO_BATCH = 4096
"""What the manifest allows."""


def take_result(draft: Draft, attempt: Attempt) -> Attempt:
    """Write down what a complete stage tells, and that it is complete. Returns the attempt with what it tells of itself."""
    result = _said(draft, attempt)
    if attempt.stage is Stage.PREPARE:
        draft.update(prepared=_facts(draft, result))
    if attempt.stage is Stage.TRAIN:
        complete_progress(draft, result)
        if result and 0 <= (resumed := result.numbers.get(RESUME_STEP, -1)) <= MOST_STEPS:
            attempt = draft.replace_attempt(attempt, resume_step=int(resumed))
    if attempt.stage is Stage.EVALUATE:
        take_tasks(draft, attempt)
        show_artifacts(draft, released=True)
    if attempt.stage is Stage.RELEASE:
        if is_quarantined(draft):
            show_artifacts(draft, released=True)
            released(draft)
    elif attempt.stage is Stage.PURGE or not is_terminal(draft.status):
        draft.set_condition(STAGE_CONDITION[attempt.stage], True, ConditionReason.SUCCEEDED, f"{draft.job_name(attempt)} is complete.")
    return attempt


def take_tried(draft: Draft, attempt: Attempt) -> Attempt:
    """Write down with how many rows in a pass training that failed tried last: it halves them itself where it can, and the next attempt goes on from there."""
    result = _said(draft, attempt)
    tried = result.numbers.get(MICRO_BATCH, 0) if result and attempt.stage is Stage.TRAIN else 0
    return draft.replace_attempt(attempt, micro_batch=int(tried)) if 1 <= tried <= LARGEST_MICRO_BATCH else attempt


def take_tasks(draft: Draft, attempt: Attempt) -> None:
    """Accuracies by task; a gate that failed tells them too."""
    result = _said(draft, attempt)
    if attempt.stage is Stage.EVALUATE and result and result.tasks:
        draft.update(results=result.tasks)


def show_artifacts(draft: Draft, released: bool = False) -> None:
    """Say where results lie, and once they are `released` what of them may be used: paths relative to the run's folder."""
    plan = draft.run.plan
    if isinstance(plan, RunPlan) and draft.run.spec:
        delivered = plan.delivered if released else ()
        adapter, model = (folder.name if folder in delivered else None for folder in (plan.folder.adapter, plan.folder.model))
        folder = draft.run.identity.folder
        draft.update(artifacts=Artifacts(claim_name=draft.run.claim, folder=folder, adapter=adapter, model=model, plan_sha256=plan.sha256))


def _said(draft: Draft, attempt: Attempt) -> StageResult | None:
    """The stage's own word, of the lowest pod whose message can be read."""
    results = (pod.result for pod in draft.pods(attempt) if pod.result)
    return next((result for result in results if result.stage is attempt.stage), None)


def _facts(draft: Draft, result: StageResult | None) -> PreparedFacts:
    """What prepare chose, or where its message was lost what is safe: no total, by which `retrying.py` knows; the plan's micro-batch, or 1 for Auto; and the
    whole gang for evaluate where the spec says how much memory a GPU has.
    """
    numbers = result.numbers if result else {}
    plan = draft.run.plan
    planned = plan.training.micro_batch if isinstance(plan, RunPlan) else 1
    may_need_gang = isinstance(plan, RunPlan) and plan.parallelism.world_size > 1 and plan.parallelism.gpu_memory is not None
    try:
        return PreparedFacts(micro_batch=int(numbers[MICRO_BATCH]), total_steps=int(numbers["total_steps"]), evaluate_on_gang=bool(numbers["evaluate_on_gang"]))
    except (KeyError, ValidationError):
        return PreparedFacts(micro_batch=1 if planned == "Auto" else planned, total_steps=0, evaluate_on_gang=may_need_gang)
