"""Finding one's way in the models by the manifest's own path: which model stands there, which fields it has, what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Path = tuple[str | int, ...]
"""Keys and indexes from the root, such as `("spec", "data", "sources", 0, "path")`."""


def dotted(path: Path) -> str:
    """`("spec", "sources", 0, "path")` as `spec.sources[0].path`; the empty path is `manifest`. Keys that a user made up are cut and escaped."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_plain(part)}" for part in path)
    return text.removeprefix(".") or "manifest"


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A model's fields by the names the manifest uses."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The model whose fields stand at `path` below `model`; None for scalars and maps of free names."""
    return _model_in(_annotation_at(model, path))


def known_path(model: type[BaseModel], loc: Path) -> Path:
    """The part of pydantic's location that a manifest has: it ends where a scalar does, before the names of union branches, or at a map's faulty key."""
    loc = loc[:-1] if loc[-1:] == ("[key]",) else loc
    for length in range(1, len(loc)):
        if not _has_parts(_annotation_at(model, loc[:length])):
            return loc[:length]
    return loc


def help_at(model: type[BaseModel], path: Path) -> str:
    """First sentence of the documentation of the nearest field at or above `path`."""
    for length in range(len(path), 0, -1):
        owner = model_at(model, path[: length - 1])
        field = fields_of(owner).get(str(path[length - 1])) if owner else None
        if field and field.description:
            return field.description.split(". ")[0].removesuffix(".") + "."
    return "see the manifest's reference."


def _plain(key: str) -> str:
    return key[:60] if key.isprintable() else repr(key[:60])


def _annotation_at(model: type[BaseModel], path: Path) -> Any:
    annotation: Any = model
    for part in path:
        owner = _model_in(annotation)
        if owner is None or isinstance(part, int):
            annotation = _entry_of(annotation) if isinstance(part, str) else annotation
            continue
        field = fields_of(owner).get(part)
        annotation = field.annotation if field else None
    return annotation


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def _entry_of(annotation: Any) -> Any:
    """What a map holds, also an optional one; anything else as it is."""
    origin = getattr(annotation, "__origin__", annotation)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return get_args(annotation)[1]
    return next((entry for part in get_args(annotation) if (entry := _entry_of(part)) is not part), annotation)


def _has_parts(annotation: Any) -> bool:
    """True for models, lists and maps, optional ones too."""
    origin = getattr(annotation, "__origin__", annotation)
    if isinstance(origin, type) and issubclass(origin, (BaseModel, tuple, Mapping)):
        return True
    return any(_has_parts(part) for part in get_args(annotation))
