"""The one base of every contract model: camelCase in JSON, snake_case in Python, frozen, and closed to unknown fields."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


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

    def to_json(self) -> str:
        """Canonical JSON text: camelCase keys in declared order, absent optional fields left out, no trailing newline."""
        return self.model_dump_json(by_alias=True, exclude_none=True)
