"""What all rules of a table-mapping document are made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """What all parts share: hyphens in names, nothing unknown."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        defer_build=True,
        alias_generator=lambda name: name.rstrip("_").replace("_", "-"),
    )


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
