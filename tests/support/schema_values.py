"""Values made from the generated schema: for every field one that may stand there, and another; and the places of all fields of an object."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]
KEY = "entry"
"""Name of every map's one entry."""
_TEXTS = ("a", "b", "en", "ko", "1Gi", "2Gi", "3Gi", "a" * 64, "b" * 64)
_NUMBERS = (1, 2, 16, 32, 64, 0, 0.1, 0.2)


@dataclass(frozen=True)
class Place:
    """One field, list entry or map entry of an object: where it stands (`spec.data.sources[0].path`), and whether one must stand there."""

    path: str
    value: Any
    schema: Schema
    required: bool

    @property
    def leaf(self) -> bool:
        """True where nothing stands below it."""
        return _scalar(self.schema)


def example(schema: Schema) -> Any:
    """A value with every field present and none at its default."""
    if "properties" in schema:
        return {name: example(part) for name, part in schema["properties"].items()}
    if "additionalProperties" in schema:
        return {KEY: example(schema["additionalProperties"])}
    if "items" in schema:
        items = schema["items"]
        entries = [[value] for value in scalars(items)] if _scalar(items) else [[example(items)]]
        return next(value for value in entries if value != schema.get("default"))
    return scalars(schema)[0]


def scalars(schema: Schema) -> list[Any]:
    """Two or more values that a scalar's schema admits, its default not among the first."""
    if schema.get("type") == "boolean":
        fitting: list[Any] = [True, False]
    elif schema.get("type") in ("integer", "number") or schema.get("x-kubernetes-int-or-string"):
        fitting = [number for number in _NUMBERS if _in_bounds(schema, number)]
    else:
        fitting = [text for text in schema.get("enum", _TEXTS) if _matches(schema, text)]
    assert len(fitting) >= 2, f"no two values for {schema}"
    return sorted(fitting, key=lambda value: value == schema.get("default"))


def places(schema: Schema, value: Any, path: str) -> Iterator[Place]:
    """Everything below `value`, which stands at `path` and has `schema`."""
    if "properties" in schema:
        below = [(f"{path}.{name}", schema["properties"][name], value[name], name in schema.get("required", ())) for name in value]
    elif "additionalProperties" in schema:
        below = [(f"{path}.{name}", schema["additionalProperties"], value[name], False) for name in value]
    else:
        below = [(f"{path}[{index}]", schema["items"], entry, False) for index, entry in enumerate(value)] if "items" in schema else []
    for place, part, entry, required in below:
        yield Place(place, entry, part, required)
        yield from places(part, entry, place)


def _scalar(schema: Schema) -> bool:
    return not {"properties", "additionalProperties", "items"} & set(schema)


def _in_bounds(schema: Schema, number: float) -> bool:
    low, high = schema["minimum"], schema["maximum"]
    whole = schema.get("type") == "number" or isinstance(number, int)
    above = number > low if schema.get("exclusiveMinimum") else number >= low
    return whole and above and (number < high if schema.get("exclusiveMaximum") else number <= high)


def _matches(schema: Schema, text: str) -> bool:
    return re.search(schema.get("pattern", ""), text) is not None and len(text) <= schema.get("maxLength", len(text))
