"""From pydantic's errors to problems a person can act on: field, what was found, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from medfinetune_api.errors import InvalidManifest
from medfinetune_api.fields import Path, dotted, fields_of, help_at, known_path, model_at
from medfinetune_api.ruled import RULE_ERROR, Rule
from medfinetune_api.scalars import PATTERN_WORDS

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


def described(value: Any) -> str:
    """A value of the manifest in a few words: short scalars as they are, the rest by kind and size."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"the boolean {str(value).lower()}"
        case str():
            return repr(value) if len(value) <= 60 else f"text of {len(value)} characters"
        case int() | float():
            return str(value) if len(str(value)) <= 60 else f"a number of {len(str(value))} digits"
        case Mapping():
            return f"a map of {', '.join(dotted((str(key),)) for key in list(value)[:6])}" if value else "an empty map"
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
            grouped.setdefault(known_path(model, details["loc"]), []).append(details)
    return [problem for path, details in grouped.items() for problem in _problems_at(model, above, path, details, locate)]


def _problems_at(model: type[BaseModel], above: Path, path: Path, errors: list[ErrorDetails], locate: Locate) -> list[InvalidManifest]:
    first = errors[0]
    if first["type"] == RULE_ERROR:
        broken: tuple[Rule, ...] = first["ctx"]["broken"]
        return [_broken_rule(rule, first["ctx"]["value"], above + path, first["input"], locate) for rule in broken]
    where = locate(above + path)
    if first["type"] == "extra_forbidden":
        return [_unknown(model, path, where)]
    help_text = help_at(model, path)
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


def _broken_rule(rule: Rule, checked: Any, path: Path, written: Any, locate: Locate) -> InvalidManifest:
    below: Path = tuple(rule.field.removeprefix(".").split(".")) if rule.field else ()
    for name in below:
        written = written.get(name) if isinstance(written, Mapping) else None
    found = rule.found(checked) if rule.found else described(written)
    return InvalidManifest(locate(path + below), found=found, expected=rule.expected, remedy=rule.remedy)


def _unknown(model: type[BaseModel], path: Path, where: str) -> InvalidManifest:
    owner, name = model_at(model, path[:-1]), str(path[-1])
    names = {_letters(known): known for known in sorted(fields_of(owner))} if owner else {}
    close = difflib.get_close_matches(_letters(name), names, n=1, cutoff=0.6)
    remedy = f"Did you mean {names[close[0]]}? Rename it, or remove it." if close else "Remove it; nothing in this version reads it."
    return InvalidManifest(where, found=f"unknown field {name[:60]!r}", expected=f"one of {', '.join(names.values())}", remedy=remedy)


def _letters(name: str) -> str:
    """Letters and digits in lower case, so that max_length is nearest to maxLength."""
    return "".join(filter(str.isalnum, name)).lower()
