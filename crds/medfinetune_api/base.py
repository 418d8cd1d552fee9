"""The one base of every contract model: camelCase in JSON, snake_case in Python, closed to unknown fields, and immutable, maps included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, field_serializer, field_validator
from pydantic.alias_generators import to_camel

Value = TypeVar("Value")


class FrozenMap(Mapping[str, Value]):
    """A map that cannot be changed; unlike a `MappingProxyType` it may be pickled and copied. Equal to any map of the same entries."""

    __slots__ = ("_entries",)

    def __init__(self, entries: Mapping[str, Value]) -> None:
        self._entries = MappingProxyType(dict(entries))

    def __getitem__(self, name: str) -> Value:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[object, ...]:
        return FrozenMap, (dict(self),)


class Contract(BaseModel):
    """Base of spec, status, plan and results. Immutable; unknown fields are refused; JSON keys are camelCase."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    @field_validator("*")
    @classmethod
    def _freeze(cls, value: Any) -> Any:
        """`frozen=True` keeps a field from being set anew, not a map in it from being changed."""
        return FrozenMap(value) if isinstance(value, Mapping) else value

    @field_serializer("*", mode="wrap")
    def _thaw(self, value: Any, handler: SerializerFunctionWrapHandler) -> Any:
        """Serialisers know dict only."""
        return handler(dict(value) if isinstance(value, FrozenMap) else value)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields replaced; as in pydantic the new values are not checked, but their maps are frozen."""
        return super().model_copy(update={name: self._freeze(value) for name, value in (update or {}).items()}, deep=deep)

    @classmethod
    def read(cls, file: Path) -> Self | None:
        """The model in a JSON file; None where there is no such file, or it is damaged. Any other OSError passes."""
        if not file.is_file():  # to open a pipe would wait for a writer for ever
            return None
        try:
            return cls.model_validate_json(file.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def to_json(self) -> str:
        """Canonical JSON text: camelCase keys in declared order, absent optional fields left out, no trailing newline."""
        return self.model_dump_json(by_alias=True, exclude_none=True)
