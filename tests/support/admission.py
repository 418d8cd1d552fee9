"""What the API server does with an object, from the generated schema alone: unknown fields, nulls, defaults, structure, CEL rules, in this order.

A rule that names oldSelf compares with what is stored: it binds an update, and no creation. The evaluator is Google's own CEL runtime. Kept independent of the
Python rules on purpose: it is the other side that they must agree with.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

from cel_expr_python import cel
from jsonschema import Draft4Validator
from medfinetune_api.schema import crd

SCHEMA: dict[str, Any] = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
_ENVIRONMENT = cel.NewEnv(variables={"self": cel.Type.DYN, "oldSelf": cel.Type.DYN})
_ABSENT = object()


def refusals(manifest: dict[str, Any], stored: dict[str, Any] | None = None) -> list[str]:
    """Why the API server would refuse the object, created or put in place of `stored`: structural errors, or else the messages of the rules it breaks.

    Empty where it is admitted.
    """
    value, before = _stored(manifest), _ABSENT if stored is None else _stored(stored)
    structural = [*_unknown(SCHEMA, manifest, ""), *(error.message for error in Draft4Validator(_python_patterns(SCHEMA)).iter_errors(value))]
    return structural or [rule["message"] for rule, node, old in _rules(SCHEMA, value, before) if not _holds(rule["rule"], node, old)]


def _stored(manifest: dict[str, Any]) -> Any:
    return _defaulted(SCHEMA, _pruned(copy.deepcopy(manifest)))


def _pruned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _pruned(part) for key, part in value.items() if part is not None}
    return [_pruned(part) for part in value] if isinstance(value, list) else value


def _defaulted(schema: dict[str, Any], value: Any) -> Any:
    if isinstance(value, dict) and "properties" in schema:
        defaults = {name: copy.deepcopy(part["default"]) for name, part in schema["properties"].items() if "default" in part and name not in value}
        value = {**value, **defaults}
        return {name: _defaulted(schema["properties"].get(name, {}), part) for name, part in value.items()}
    return [_defaulted(schema["items"], part) for part in value] if isinstance(value, list) and "items" in schema else value


def _unknown(schema: dict[str, Any], value: Any, place: str) -> Iterator[str]:
    if isinstance(value, dict) and "properties" in schema:
        for name, part in value.items():
            if f"{place}.{name}" == ".metadata":
                continue  # the API server's own type; the schema names only what a rule reads
            if name in schema["properties"]:
                yield from _unknown(schema["properties"][name], part, f"{place}.{name}")
            else:
                yield f"unknown field {place}.{name}"
    elif isinstance(value, list) and "items" in schema:
        for part in value:
            yield from _unknown(schema["items"], part, place)


def _rules(schema: dict[str, Any], value: Any, before: Any) -> Iterator[tuple[dict[str, str], Any, Any]]:
    """Every rule that binds `value` or what is in it, with the node and what is stored at its place; entries of our lists have no such place."""
    rules = schema.get("x-kubernetes-validations", ())
    yield from ((rule, value, before) for rule in rules if before is not _ABSENT or "oldSelf" not in rule["rule"])
    if isinstance(value, dict):
        for name, part in value.items():
            inner = schema.get("properties", {}).get(name) or schema.get("additionalProperties", {})
            yield from _rules(inner, part, before.get(name, _ABSENT) if isinstance(before, dict) else _ABSENT)
    elif isinstance(value, list):
        for part in value:
            yield from _rules(schema.get("items", {}), part, _ABSENT)


@cache
def _compiled(rule: str) -> Any:
    return _ENVIRONMENT.compile(rule)


def _holds(rule: str, node: Any, before: Any) -> bool:
    result = _compiled(rule).eval(data={"self": node, "oldSelf": None if before is _ABSENT else before})
    assert result.type() == cel.Type.BOOL, f"{rule}: {result.value()}"
    return bool(result.value())


def _python_patterns(schema: Any) -> Any:
    r"""Go's `$` is the end of the text; Python's also stands before a last newline, its `\Z` does not."""
    if isinstance(schema, dict):
        return {key: part.replace("$", r"\Z") if key == "pattern" else _python_patterns(part) for key, part in schema.items()}
    return [_python_patterns(part) for part in schema] if isinstance(schema, list) else schema
