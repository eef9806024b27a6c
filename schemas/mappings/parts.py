"""What all rules of a table-mapping document are made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Part(BaseModel):
    """What all parts share: hyphens in names, nothing unknown; a null states nothing, as in task settings.

    DMS's console writes nulls for what it offers and nobody has chosen, in rules too that have no such attribute.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        defer_build=True,
        alias_generator=lambda name: name.rstrip("_").replace("_", "-"),
    )

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, given: Any) -> Any:
        return {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given


class Locator(Part):
    """Which objects a rule is about."""

    schema_name: str
    table_name: str = "%"
    column_name: str | None = None
    table_type: Literal["table", "view", "all"] = "table"
    table_tablespace_name: str | None = None
    index_tablespace_name: str | None = None


class BaseRule(Part):
    """What all rules have."""

    rule_id: Annotated[str, Field(coerce_numbers_to_str=True, min_length=1)]
    rule_name: Annotated[str, Field(coerce_numbers_to_str=True)] = ""
