"""Filters as conditions of PostgreSQL: of the same outcome as `RowFilter.matches`, whatever the column's collation."""

from __future__ import annotations

from capture.sources.postgresql.connection import identifier, literal
from schemas.mappings.filters import RowFilter
from schemas.table import Column
from schemas.types import Family

_TYPES = {
    Family.FLOAT32: "float8",
    Family.FLOAT64: "float8",
    Family.DATE: "date",
    Family.TIME: "time",
    Family.TIMESTAMP: "timestamp",
    Family.TIMESTAMPTZ: "timestamptz",
    Family.UUID: "uuid",
    Family.BOOLEAN: "boolean",
}
_TEXTS = (Family.STRING, Family.ENUM)


def condition(row_filter: RowFilter) -> str:
    """Return the condition over the table `t`; empty: none."""
    return row_filter.sql(_expression, literal_of)


def _expression(column: Column) -> str | None:
    name = f"t.{identifier(column.name)}"
    if column.type.family is Family.TEXT:
        # Of a composite value `is not null` says more than that there is one.
        return None
    if column.type.family in _TEXTS:
        return f'{name}::text collate "C"'
    # As a double a real is what rows hold of it.
    return f"{name}::float8" if column.type.family is Family.FLOAT32 else name


def literal_of(column: Column, text: str) -> str:
    """Return a value, as text, as a column is compared with it."""
    family = column.type.family
    if family in _TEXTS:
        return literal(text)
    # All others are numbers: digits, a sign and a point.
    return f"{literal(text)}::{_TYPES[family]}" if family in _TYPES else text
