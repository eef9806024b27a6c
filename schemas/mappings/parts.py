"""What all rules of a table-mapping document are made of."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

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
    data_type: str | None = None
    """Of columns: those of this type of AWS DMS alone."""
    table_type: Literal["table", "view", "all"] = "table"
    table_tablespace_name: str | None = None
    index_tablespace_name: str | None = None

    @property
    def sole(self) -> TableName:
        """The table of a rule that is about one."""
        return TableName(unescaped(self.schema_name), unescaped(self.table_name))


class BaseRule(Part):
    """What all rules have."""

    about_columns: ClassVar[bool] = False
    """Whether a locator may name columns."""

    rule_id: Annotated[str, Field(coerce_numbers_to_str=True, min_length=1, max_length=100)]
    rule_name: Annotated[str, Field(coerce_numbers_to_str=True)] = ""
    object_locator: Locator

    @model_validator(mode="after")
    def _means_tables(self) -> Self:
        if not self.about_columns and (self.object_locator.column_name or "%") != "%":
            raise ValueError("object-locator: column-name is for transformations: include-column, for one")
        if not self.about_columns and self.object_locator.data_type is not None:
            raise ValueError("object-locator: data-type is for transformations of columns")
        return self

    @property
    def number(self) -> int | None:
        """The id, where it is a number, as at DMS."""
        return int(self.rule_id) if self.rule_id.isdecimal() else None
