"""The release of a run that a gate has stopped: whether one is asked for and may be, and what it changes. Its Job does it; nothing here touches a file.

An admission policy guards the annotations that ask for it, from when it was made: what stood there before, anybody may have written. So a quarantined run is
first seen without them, which is stored (Released is False, Undecided), and only then heeded with them.
"""

from __future__ import annotations

from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason, ConditionType, Phase
from medfinetune_api.errors import Refusal
from medfinetune_api.results_gates import ReleaseRequest

from medfinetune_operator.attempts import MAX_NUMBER, attempts_of, last_attempt, next_number, open_attempts
from medfinetune_operator.conditions import condition, is_true
from medfinetune_operator.draft import Draft
from medfinetune_operator.verdict import fate

ATTEMPTS = 3
"""Failures of the release until a person has to see to it."""
OFF = (
    "A release is asked for, but it is off in this cluster (`release: false` in the operator's settings). Ask the cluster's administrator, or run "
    "`medfinetune release` where the output volume is mounted."
)


UNDECIDED = "A gate has stopped the run. Who holds the verb `release` may release it: docs/gates.md."
UNPROVEN = (
    "The annotations of a release were there before the admission policy was seen to guard them, so who set them is not proven. "
    "Who may release: take both annotations away, then set them again."
)


def is_quarantined(draft: Draft) -> bool:
    """Whether a gate has stopped the run, and nobody has released it."""
    return is_true(draft.status, ConditionType.QUARANTINED)


def watch_release(draft: Draft) -> None:
    """Store of a quarantined run whether the annotations of a release are guarded; where they are asked for and not heeded, one event says why."""
    if not is_quarantined(draft) or any(each.stage is Stage.RELEASE for each in open_attempts(draft.status)):
        return
    asked, guarded = draft.run.release is not None, _is_guarded(draft)
    if not draft.settings.release:
        if asked or guarded:
            _refused(draft, ConditionReason.RELEASE_OFF, OFF, tell=asked)
    elif not asked:
        _refused(draft, ConditionReason.UNDECIDED, UNDECIDED, tell=False)
    elif not guarded:
        _refused(draft, ConditionReason.RELEASE_UNPROVEN, UNPROVEN)


def release_left(draft: Draft) -> bool:
    """Whether an attempt to release the run is to begin. Where one is asked for that will not, the condition and one event say why."""
    asked = draft.run.release
    if not is_quarantined(draft) or asked is None or not draft.settings.release or not _is_guarded(draft):
        return False
    if isinstance(asked, Refusal):
        return _refused(draft, ConditionReason.RELEASE_FAILED, str(asked))
    if _used_up(draft):
        return _refused(draft, ConditionReason.RELEASE_FAILED, f"Nothing is released. {draft.remedy(ConditionReason.RELEASE_FAILED)}")
    return True


def released(draft: Draft) -> None:
    """The Job of the release is complete: the run has an adapter that may be used, and so it has succeeded. Its stage's condition still tells of the gate."""
    who = draft.run.release.by if isinstance(draft.run.release, ReleaseRequest) else "somebody"
    message = f"Released against its gates by {who}; folder {draft.run.identity.folder} of claim {draft.run.claim} holds the record."
    for kind in (ConditionType.RELEASED, ConditionType.SUCCEEDED):
        draft.set_condition(kind, True, ConditionReason.RELEASED, message)
    for kind in (ConditionType.QUARANTINED, ConditionType.FAILED):
        draft.set_condition(kind, False, ConditionReason.RELEASED, message)
    draft.update(phase=Phase.RELEASED)
    draft.note(ConditionReason.RELEASED, message, warning=True)


def _used_up(draft: Draft) -> bool:
    """Whether no further attempt helps, or is left. What disrupts a pod says nothing of the release."""
    last, failures = last_attempt(draft.status, Stage.RELEASE), [each for each in attempts_of(draft.status, Stage.RELEASE) if each.reason]
    if last is None:
        return False
    final = last.reason is not None and not fate(last.reason).retryable
    charged = [each for each in failures if each.reason and fate(each.reason) != fate(ConditionReason.DISRUPTED)]
    return final or len(charged) >= ATTEMPTS or next_number(draft.status, Stage.RELEASE) > MAX_NUMBER


def _is_guarded(draft: Draft) -> bool:
    """Whether the run was seen without the annotations while the policy was there: only then has the condition any reason but these two."""
    known = condition(draft.status, ConditionType.RELEASED)
    return known is not None and known.reason not in (ConditionReason.RELEASE_OFF, ConditionReason.RELEASE_UNPROVEN)


def _refused(draft: Draft, reason: ConditionReason, message: str, tell: bool = True) -> bool:
    before = condition(draft.status, ConditionType.RELEASED)
    if tell and (before is None or before.reason is not reason):
        draft.note(reason, message, warning=True)
    draft.set_condition(ConditionType.RELEASED, False, reason, message)
    return False
