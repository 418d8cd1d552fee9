"""From pydantic's JSON schema to the structural OpenAPI v3 schema that a CustomResourceDefinition may hold.

A keyword is carried over, translated, or known to say nothing; any other raises. Nothing is dropped unseen, because a bound that silently goes missing is a
manifest the API server takes and the program refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Schema = dict[str, Any]

_CARRIED = {
    "type",
    "description",
    "enum",
    "pattern",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "x-kubernetes-validations",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
}
_SAYS_NOTHING = {"title"}
_FORMATS = {"date-time"}


class UnknownKeywordError(Exception):
    """The models use something that the generator does not know how to carry over: a defect of ours, found when generating."""


def structural(schema: Mapping[str, Any]) -> Schema:
    """The structural form of a JSON schema with `$defs`.

    Raises:
        UnknownKeywordError: a keyword, or a form of one, without a translation.
    """
    return _Translator(schema.get("$defs", {})).node({key: value for key, value in schema.items() if key != "$defs"}, "")


class _Translator:
    """Walks a schema, inlining its definitions."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions
        self._translations: dict[str, Callable[[Any, Schema, str], Schema]] = {
            "const": lambda value, node, place: {"enum": [value]},
            "format": self._format,
            "default": self._default,
            "minimum": self._minimum,
            "exclusiveMinimum": lambda value, node, place: {"minimum": value, "exclusiveMinimum": True},
            "exclusiveMaximum": lambda value, node, place: {"maximum": value, "exclusiveMaximum": True},
            "properties": lambda value, node, place: {"properties": {name: self.node(part, f"{place}.{name}") for name, part in value.items()}},
            "items": lambda value, node, place: {
                "items": self.node(value, f"{place}[]"),
                "x-kubernetes-list-type": node.get("x-kubernetes-list-type", "atomic"),
            },
            "additionalProperties": self._additional,
            "propertyNames": self._names,
        }

    def node(self, schema: Schema, place: str) -> Schema:
        """One node and all below it."""
        flat = self._merge_union(self._inline(schema, place), place)
        result: Schema = {}
        for key, value in flat.items():
            if key in _CARRIED or key.startswith("x-kubernetes-int") or key == "anyOf":
                result.setdefault(key, value)
            elif key in self._translations:
                result |= self._translations[key](value, flat, place)
            elif key not in _SAYS_NOTHING:
                raise UnknownKeywordError(f"{place or 'root'}: no translation for the JSON-schema keyword '{key}'")
        return result

    def _inline(self, schema: Schema, place: str) -> Schema:
        """`$ref` replaced by what it names; what stands beside it (a field's own description) prevails."""
        while "$ref" in schema:
            name = str(schema["$ref"]).removeprefix("#/$defs/")
            if name not in self._definitions:
                raise UnknownKeywordError(f"{place}: reference to an unknown definition '{name}'")
            schema = {**self._definitions[name], **{key: value for key, value in schema.items() if key != "$ref"}}
        return schema

    def _merge_union(self, schema: Schema, place: str) -> Schema:
        """`X | None` as X (an absent field; the API server prunes nulls), an integer or a text as int-or-string, no other union."""
        if "anyOf" not in schema:
            return schema
        beside = {key: value for key, value in schema.items() if key != "anyOf"}
        branches = [self._inline(branch, place) for branch in schema["anyOf"] if branch != {"type": "null"}]
        if len(branches) == 1:
            return {**branches[0], **beside}
        return {**_int_or_text(branches, place), **beside}

    def _format(self, value: Any, node: Schema, place: str) -> Schema:
        if value not in _FORMATS:
            raise UnknownKeywordError(f"{place}: no translation for the format '{value}'")
        return {"format": value}

    def _default(self, value: Any, node: Schema, place: str) -> Schema:
        """A default of None is no default: absent stays absent, so that a preset may decide."""
        return {} if value is None else {"default": _without_null(value)}

    def _minimum(self, value: Any, node: Schema, place: str) -> Schema:
        """The API server compares a whole number with the bound's whole part alone: 0 would pass a minimum of 0.01. A rule compares them as they are."""
        if value == int(value):
            return {"minimum": value}
        if "x-kubernetes-validations" in node:
            raise UnknownKeywordError(f"{place}: no translation for a fractional minimum beside rules")
        message = f"expected at least {value}. Correct the value."
        return {"minimum": value, "x-kubernetes-validations": [{"rule": f"self >= {value}", "message": message, "reason": "FieldValueInvalid"}]}

    def _additional(self, value: Any, node: Schema, place: str) -> Schema:
        """Closed objects are closed by pruning and strict validation; a map's values keep their schema."""
        if value is False:
            return {}
        if not isinstance(value, dict) or "properties" in node:
            raise UnknownKeywordError(f"{place}: additionalProperties must be false, or the schema of a map's values")
        return {"additionalProperties": self.node(value, f"{place}.*")}

    def _names(self, value: Any, node: Schema, place: str) -> Schema:
        """A structural schema cannot bound a map's names, a rule at the map can."""
        if not isinstance(value, dict) or not {"maxLength"} <= set(value) <= {"maxLength", "minLength"} or "x-kubernetes-validations" in node:
            raise UnknownKeywordError(f"{place}: no translation for these propertyNames; a map's names may have a maxLength and a minLength")
        shortest, longest = value.get("minLength", 0), value["maxLength"]
        rule = f"self.all(name, {f'name.size() >= {shortest} && ' if shortest else ''}name.size() <= {longest})"
        message = f"expected names of {f'{shortest} to' if shortest else 'at most'} {longest} characters. Change the name."
        return {"x-kubernetes-validations": [{"rule": rule, "message": message, "reason": "FieldValueInvalid"}]}


def _int_or_text(branches: list[Schema], place: str) -> Schema:
    """The one union a CustomResourceDefinition knows; the string's pattern and the number's bounds each bind their own kind."""
    kinds = {branch.get("type"): branch for branch in branches}
    text = kinds.get("string", {})
    word = text.get("const")
    form = {"pattern": f"^{word}$", "maxLength": len(word)} if isinstance(word, str) else {key: text.get(key) for key in ("pattern", "maxLength")}
    if set(kinds) != {"integer", "string"} or len(branches) != 2 or None in form.values():
        raise UnknownKeywordError(f"{place}: no translation for this union; a structural schema has X | None, and integer | text of one bounded pattern")
    bounds = {key: value for key, value in kinds["integer"].items() if key != "type"}
    union = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    return {**union, **bounds, **form}


def _without_null(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_null(part) for key, part in value.items() if part is not None}
    return [_without_null(part) for part in value] if isinstance(value, list) else value
