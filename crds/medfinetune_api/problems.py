"""From pydantic's errors to problems a person can act on: field, what was found, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from medfinetune_api.errors import InvalidManifest
from medfinetune_api.ruled import RULE_ERROR, Rule
from medfinetune_api.scalars import PATTERN_WORDS

Path = tuple[str | int, ...]
Locate = Callable[[Path], str]
"""Where a field stands, as a person is told: `spec.training.epochs (run.yaml:12)`."""

_EXPECTED: dict[str, str] = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text (quote it if it looks like a number, date or boolean)",
    "bool_type": "true or false",
    "enum": "{expected}",
    "literal_error": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "string_too_long": "at most {max_length} characters",
    "too_short": "at least {min_length} entries",
    "too_long": "at most {max_length} entries",
    "tuple_type": "a list",
    "mapping_type": "a map of names and values",
    "model_type": "a map of fields",
    "model_attributes_type": "a map of fields",
}


def dotted(path: Path) -> str:
    """`("spec", "sources", 0, "path")` as `spec.sources[0].path`; the empty path is `manifest`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "manifest"


def described(value: Any) -> str:
    """A value of the manifest in a few words: short scalars as they are, the rest by kind and size."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"the boolean {str(value).lower()}"
        case str():
            return f"'{value}'" if len(value) <= 60 else f"text of {len(value)} characters"
        case int() | float():
            return str(value) if len(str(value)) <= 60 else f"a number of {len(str(value))} digits"
        case Mapping():
            return f"a map of {', '.join(list(map(str, value))[:6])}"[:80] if value else "an empty map"
        case Sequence():
            return f"a list of {len(value)}"
    return f"a {type(value).__name__}"


def problems_of(error: ValidationError, model: type[BaseModel], locate: Locate = dotted, above: Path = ()) -> list[InvalidManifest]:
    """Every error of one validation, in the manifest's order; several at one field (the branches of a union) become one.

    Args:
        error: what pydantic raised for `model`.
        locate: how a field's place is written.
        above: path of the validated part within the manifest.
    """
    grouped: dict[Path, list[ErrorDetails]] = {}
    errors = error.errors(include_url=False)
    for details in errors:
        if not _shortened(details, errors):
            grouped.setdefault(_known(model, details["loc"]), []).append(details)
    return [problem for path, details in grouped.items() for problem in _problems_at(model, above, path, details, locate)]


def _problems_at(model: type[BaseModel], above: Path, path: Path, errors: list[ErrorDetails], locate: Locate) -> list[InvalidManifest]:
    first = errors[0]
    if first["type"] == RULE_ERROR:
        broken: tuple[Rule, ...] = first["ctx"]["broken"]
        return [_broken_rule(rule, above + path, first["input"], locate) for rule in broken]
    where = locate(above + path)
    if first["type"] == "extra_forbidden":
        return [_unknown(model, path, where)]
    help_text = _help(model, path)
    if first["type"] == "missing":
        return [InvalidManifest(where, found="nothing", expected="a value", remedy=f"Add {path[-1]}: {help_text}")]
    expected = " or ".join(dict.fromkeys(_expected(details) for details in errors))
    return [InvalidManifest(where, found=described(first["input"]), expected=expected, remedy=f"Correct {dotted(path[-1:])}: {help_text}")]


def _shortened(details: ErrorDetails, errors: list[ErrorDetails]) -> bool:
    """True where a list is short only because pydantic does not count its faulty entries."""
    loc = details["loc"]
    return details["type"] == "too_short" and any(other["loc"][: len(loc)] == loc and len(other["loc"]) > len(loc) for other in errors)


def _expected(details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    if details["type"] == "string_pattern_mismatch":
        return PATTERN_WORDS.get(context["pattern"], f"text of the form {context['pattern']}")
    return _EXPECTED.get(details["type"], details["msg"]).format(**context)


def _broken_rule(rule: Rule, path: Path, node: Any, locate: Locate) -> InvalidManifest:
    below: Path = tuple(rule.field.removeprefix(".").split(".")) if rule.field else ()
    value = node
    for name in below:
        value = value.get(name) if isinstance(value, Mapping) else None
    return InvalidManifest(locate(path + below), found=described(value), expected=rule.expected, remedy=rule.remedy)


def _unknown(model: type[BaseModel], path: Path, where: str) -> InvalidManifest:
    owner = model_at(model, path[:-1])
    names = sorted(fields_of(owner)) if owner else []
    close = difflib.get_close_matches(str(path[-1]), names, n=1, cutoff=0.6) or _same_letters(str(path[-1]), names)
    remedy = f"Did you mean {close[0]}? Rename it, or remove it." if close else "Remove it; nothing in this version reads it."
    return InvalidManifest(where, found=f"unknown field '{str(path[-1])[:60]}'", expected=f"one of {', '.join(names)}", remedy=remedy)


def _same_letters(name: str, names: list[str]) -> list[str]:
    def plain(text: str) -> str:
        return "".join(filter(str.isalnum, text)).lower()

    return [other for other in names if plain(other) == plain(name)]


def _help(model: type[BaseModel], path: Path) -> str:
    """The documentation of the nearest documented field at or above `path`."""
    for length in range(len(path), 0, -1):
        owner = model_at(model, path[: length - 1])
        field = fields_of(owner).get(str(path[length - 1])) if owner else None
        if field and field.description:
            return field.description.split(". ")[0].removesuffix(".") + "."
    return "see the manifest's reference."


def _known(model: type[BaseModel], loc: tuple[int | str, ...]) -> Path:
    """The part of pydantic's location that a manifest has: without the names of union branches."""
    for length in range(1, len(loc)):
        annotation = _annotation_at(model, loc[:length])
        if not _holds_parts(annotation):
            return loc[:length]
    return loc


def _holds_parts(annotation: Any) -> bool:
    return _model_in(annotation) is not None or any(issubclass(kind, (tuple, Mapping)) for kind in _classes_in(annotation))


def _classes_in(annotation: Any) -> list[type]:
    origin = getattr(annotation, "__origin__", None)
    if isinstance(origin, type) and issubclass(origin, (tuple, Mapping)):
        return [origin]
    if isinstance(annotation, type):
        return [annotation]
    return [kind for part in get_args(annotation) for kind in _classes_in(part)]


def _annotation_at(model: type[BaseModel], path: Path) -> Any:
    annotation: Any = model
    for part in path:
        owner = _model_in(annotation)
        field = fields_of(owner).get(str(part)) if owner and isinstance(part, str) else None
        if field is not None:
            annotation = field.annotation
        elif owner is not None and isinstance(part, str):
            return None
    return annotation


def model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The model whose fields stand at `path` below `model`; None for scalars and maps of free names."""
    return _model_in(_annotation_at(model, path))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A model's fields by the names the manifest uses."""
    return {field.alias or name: field for name, field in model.model_fields.items()}
