"""What all rules of a table-mapping document are made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.mappings.patterns import unescaped
from schemas.table import TableName


class Part(BaseModel):
    """What all parts share: hyphens in names, nothing unknown; a null and an empty object state nothing, as in task
    settings, nor does an empty text where no text can stand.

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
        if not isinstance(given, dict):
            return given
        no_texts = {field.alias for field in cls.model_fields.values() if "str" not in str(field.annotation)}
        return {
            name: value
            for name, value in given.items()
            if value is not None and value != {} and not (value == "" and name in no_texts)
        }


class Locator(Part):
    """Which objects a rule is about."""

    schema_name: str
    table_name: str = "%"
    column_name: str | None = None
    table_type: Literal["table", "view", "all"] = "table"
    table_tablespace_name: str | None = None
    index_tablespace_name: str | None = None

    @property
    def sole(self) -> TableName:
        """The table of a rule that is about one."""
        return TableName(unescaped(self.schema_name), unescaped(self.table_name))


class BaseRule(Part):
    """What all rules have."""

    rule_id: Annotated[str, Field(coerce_numbers_to_str=True, min_length=1)]
    rule_name: Annotated[str, Field(coerce_numbers_to_str=True)] = ""
