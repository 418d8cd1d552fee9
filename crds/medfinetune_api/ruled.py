"""What a cross-field rule is, and how a model carries its rules: Python checks them here, the API server checks their CEL.

A `Rule` is declared once (`rules.py`). Attached to a model through `Ruled.rules`, or to a scalar type through `Annotated`, it refuses a manifest in Python,
and is written into the CustomResourceDefinition as an `x-kubernetes-validations` entry at the same place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from medfinetune_api.base import Contract

RULE_ERROR = "medfinetune_rule"
"""Type of the pydantic error that carries the rules in `ctx["broken"]` and what broke them in `ctx["value"]`."""

Reason = Literal["FieldValueInvalid", "FieldValueRequired", "FieldValueForbidden"]
"""Kubernetes' own, but for FieldValueDuplicate: with that one the API server leaves the message out."""

_INVALID: Reason = "FieldValueInvalid"
NAMED = 200
"""Most characters of the names that break a rule."""


@dataclass(frozen=True)
class Rule:
    """One cross-field rule in both its forms. `self` in CEL and the predicate's argument are the same node."""

    cel: str
    holds: Callable[[Any], bool]
    expected: str
    """What would be accepted; completes "expected ..."."""
    remedy: str
    """An imperative sentence."""
    field: str = ""
    """Path below the node, in the manifest's own spelling (`.training.precision`); empty names the node itself."""
    reason: Reason = _INVALID
    found: Callable[[Any], str] | None = None
    """What to say was found, where the field's own value would not tell; Python's form only."""

    @classmethod
    def none(
        cls, names: Callable[[Any], list[str]], words: str = "{}", *, cel: str, expected: str, remedy: str, field: str = "", reason: Reason = _INVALID
    ) -> Self:
        """A rule that `names` of a node break, where there are any; `words` say so, with them in place of `{}`."""
        return cls(
            cel=cel,
            holds=lambda node: not names(node),
            found=lambda node: words.format(", ".join(names(node))[:NAMED]),
            expected=expected,
            remedy=remedy,
            field=field,
            reason=reason,
        )

    def validation(self) -> dict[str, str]:
        """The `x-kubernetes-validations` entry."""
        entry = {"rule": self.cel, "message": f"expected {self.expected}. {self.remedy}", "reason": self.reason}
        return entry | ({"fieldPath": self.field} if self.field else {})

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """As an annotation of a scalar type: check the scalar itself."""

        def check(value: Any) -> Any:
            refuse_broken((self,), value)
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """As an annotation of a scalar type: stand at the scalar's node."""
        return _with_rules(handler(schema), (self,))


class Ruled(Contract):
    """A model whose fields must agree with each other."""

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _hold_rules(self) -> Self:
        refuse_broken(self.rules, self)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Stand at the model's node."""
        described = handler(schema)
        _with_rules(handler.resolve_ref_schema(described), cls.rules)
        return described


def refuse_broken(rules: tuple[Rule, ...], value: Any) -> None:
    """Raise one pydantic error that carries every rule `value` breaks."""
    broken = tuple(rule for rule in rules if not rule.holds(value))
    if broken:
        raise PydanticCustomError(RULE_ERROR, "broken rules", {"broken": broken, "value": value})


def _with_rules(schema: JsonSchemaValue, rules: tuple[Rule, ...]) -> JsonSchemaValue:
    if rules:
        schema["x-kubernetes-validations"] = [rule.validation() for rule in rules]
    return schema
