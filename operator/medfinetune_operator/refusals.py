"""Refusals: what the API server's no means to a run, in the contract's words. Its own text is looked at, never kept."""

from __future__ import annotations

import re

from medfinetune_api.conditions import ConditionReason

from medfinetune_operator.client import ApiError
from medfinetune_operator.observation import Refusal

QUOTA = "exceeded quota"
"""What the ResourceQuota plugin says; it shares its code and reason with every other refusal."""
QUOTA_MISSING = "failed quota"
"""What it says of pods that leave out a figure that the quota counts."""
ADMISSION_CODES = frozenset({400, 403, 422})
RIGHT_MISSING = re.compile(r'[\w./-]+( "[^"]*")? is forbidden: User "')
"""How the authorizer begins, as admission does not: it refuses the operator, whatever the object."""


class Refused(Exception):  # noqa: N818  # says what is so
    """The API server will not have an object of a run, and will not until somebody changes something. Worth another try later."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class RightMissing(ApiError):  # noqa: N818  # says what is so
    """The operator's own account may not do this. No fault of the run, and mended by its role alone: docs/security.md."""

    def __init__(self, error: ApiError, verb: str, resource: str) -> None:
        super().__init__(error.status, error.reason, error.text)
        self.args = (f"{error.status} {error.reason}: the operator's account lacks the right to {verb} {resource}",)


def right_missing(error: ApiError) -> bool:
    """Whether the operator's account is refused, and not the object."""
    return error.status == 403 and RIGHT_MISSING.match(error.text) is not None


def refusal_of(error: ApiError) -> ConditionReason | None:
    """Why a create or apply was refused; None where it is no refusal but a failure, which a retry may mend."""
    if error.status == 409 and error.reason == "AlreadyExists":
        return ConditionReason.NAME_TAKEN
    if error.status == 422 and error.fields:
        return ConditionReason.OBJECT_INVALID
    if error.status in ADMISSION_CODES and not right_missing(error):
        return trouble_of(error.text)
    return None


def trouble_of(text: str) -> ConditionReason:
    """What keeps pods from being created, from what the Job controller was told."""
    return ConditionReason.QUOTA_EXCEEDED if QUOTA in text or QUOTA_MISSING in text else ConditionReason.ADMISSION_REFUSED
