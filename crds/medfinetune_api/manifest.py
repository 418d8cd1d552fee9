"""From a file, or a mapping, to a valid MedFineTune, or to all of its problems at once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medfinetune_api.errors import InvalidManifest
from medfinetune_api.fields import Path as FieldPath
from medfinetune_api.fields import dotted, fields_of, model_at
from medfinetune_api.problems import Locate, described, problems_of
from medfinetune_api.spec import API_VERSION, KIND, MedFineTune
from medfinetune_api.yaml_lines import Document, read_document

LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class ManifestErrors(InvalidManifest):
    """Everything that is wrong with one manifest; reads as one line a problem."""

    def __init__(self, problems: tuple[InvalidManifest, ...]) -> None:
        first = problems[0]
        super().__init__(first.where, found=first.found, expected=first.expected, remedy=first.remedy)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))

    def __reduce__(self) -> tuple[object, ...]:
        return ManifestErrors, (self.problems,)


def load_manifest(path: Path) -> MedFineTune:
    """Read and check the manifest in one YAML or JSON file.

    Raises:
        InvalidManifest: the file cannot be read as one YAML document; `ManifestErrors` where its fields are at fault.
    """
    document = read_document(path)
    return _parsed(document.value, _locator(document))


def parse_manifest(manifest: Mapping[str, Any]) -> MedFineTune:
    """Check a manifest given as JSON types, with JSON's strictness: text is no number, a number no text.

    Raises:
        ManifestErrors: with every problem.
    """
    return _parsed(manifest, dotted)


def _locator(document: Document) -> Locate:
    def locate(path: FieldPath) -> str:
        line = next(line for length in range(len(path), -1, -1) if (line := document.lines.get(path[:length])))
        return f"{dotted(path)} ({document.place(line)})"

    return locate


def _parsed(value: Any, locate: Locate) -> MedFineTune:
    _require_text(value, locate)
    _require_kind(value, locate)
    try:
        return MedFineTune.model_validate_json(json.dumps(_pruned(value)), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise ManifestErrors(tuple(problems_of(error, MedFineTune, locate))) from None


def _require_text(value: Any, locate: Locate, path: FieldPath = ()) -> None:
    """Refuse half of a surrogate pair, which an escape can write and JSON cannot carry."""
    if isinstance(value, str) and LONE_SURROGATE.search(value):
        found, remedy = "half of a surrogate pair", "Write the character itself, or remove the escape."
        raise ManifestErrors((InvalidManifest(locate(path), found=found, expected="text of Unicode characters", remedy=remedy),))
    for key, part in value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ():
        _require_text(key, locate, (*path, key))
        _require_text(part, locate, (*path, key))


def _pruned(value: Any, path: FieldPath = ()) -> Any:
    """Without the nulls of known fields, as the API server prunes them: `epochs:` with nothing behind it is absent. Unknown fields stay, to be named."""
    if isinstance(value, Mapping):
        owner = model_at(MedFineTune, path)
        known = fields_of(owner) if owner else value
        return {key: _pruned(part, (*path, key)) for key, part in value.items() if part is not None or key not in known}
    return [_pruned(part, (*path, index)) for index, part in enumerate(value)] if isinstance(value, list) else value


def _require_kind(value: Any, locate: Locate) -> None:
    """Another kind or version is one problem, not a hundred unknown fields."""
    if not isinstance(value, Mapping):
        raise ManifestErrors((InvalidManifest(locate(()), found=described(value), expected=f"a {KIND}", remedy="Write apiVersion, kind, metadata and spec."),))
    for field, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if value.get(field) != wanted:
            remedy = f"Set {field}: {wanted}; this program reads no other."
            raise ManifestErrors((InvalidManifest(locate((field,)), found=described(value.get(field)), expected=wanted, remedy=remedy),))
