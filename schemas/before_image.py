"""Earlier values of rows, beside the present ones: which columns have them, and what they are called in documents.

AWS DMS user guide, "Before image task settings" and "Using a before image transformation rule".
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from schemas.section import Section
from schemas.table import TableSchema
from schemas.types import Family

Columns = Literal["pk-only", "non-lob", "all"]
_LOBS = frozenset({Family.BYTES, Family.JSON, Family.XML, Family.TEXT})
"""Types whose values may be large, beside texts without a length."""
_TAKEN = frozenset({"data", "metadata", "unavailable", "control"})


class BeforeImageSettings(Section):
    """The values before an update in DMS's documents, instead of the member `before` with all that the log held."""

    field: Annotated[str, Field(min_length=1, max_length=200)] = "before"
    """The member that holds them, at targets that are given DMS's JSON."""
    columns: Columns = "pk-only"
    """Which columns have them: of the key (always known), all but large ones, or all; as far as the log held them."""

    @field_validator("field")
    @classmethod
    def _is_free(cls, field: str) -> str:
        if field in _TAKEN:
            raise ValueError(f"documents have another member {field!r}")
        return field


def has_image(table: TableSchema, place: int, columns: Columns) -> bool:
    """Tell whether a column has earlier values."""
    if columns == "pk-only":
        return place in table.key
    type_ = table.columns[place].type
    is_large = type_.family in _LOBS or (type_.family is Family.STRING and type_.length is None)
    return columns == "all" or not is_large
