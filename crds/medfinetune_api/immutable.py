"""What may change of a run that exists: runPolicy, and nothing else. Transition rules for the API server, field by field, so that it names the field.

A plain `self.x == oldSelf.x` would let an optional field be added or removed: presence is compared too.
"""

from __future__ import annotations

from typing import Any

from medfinetune_api.fields import fields_of
from medfinetune_api.spec import FineTuneSpec

MUTABLE = "runPolicy"


def transition_rules() -> list[dict[str, Any]]:
    """The `x-kubernetes-validations` entries of spec that compare with what is stored."""
    return [*(_unchanged(name) for name in fields_of(FineTuneSpec) if name != MUTABLE), _cancelled_stays_cancelled()]


def _unchanged(name: str) -> dict[str, Any]:
    now, before = f"self.{name}", f"oldSelf.{name}"
    return {
        "rule": f"has({now}) == has({before}) && (!has({now}) || {now} == {before})",
        "message": f"expected {name} as it was when the run was created: only runPolicy may change. Create a MedFineTune of another name.",
        "reason": "FieldValueForbidden",
        "fieldPath": f".{name}",
    }


def _cancelled_stays_cancelled() -> dict[str, Any]:
    return {
        "rule": "!oldSelf.runPolicy.cancel || self.runPolicy.cancel",
        "message": "expected cancel to stay true: a cancelled run has ended. Create a MedFineTune of another name to train again.",
        "reason": "FieldValueForbidden",
        "fieldPath": ".runPolicy.cancel",
    }
