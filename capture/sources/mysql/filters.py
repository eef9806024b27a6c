"""Filters as conditions of MySQL and MariaDB: of the same outcome as `RowFilter.matches`, whatever the collation.

What a server would compare otherwise than we do is left to us: dates that `zero_dates` turns into others, texts in
charsets that we decode ourselves, UUIDs (which MariaDB sorts by their parts).
"""

from __future__ import annotations

from capture.sources.mysql.natives import parse_native
from capture.sources.mysql.quoting import identifier, literal
from schemas.mappings.filters import RowFilter
from schemas.table import Column
from schemas.types import Family

_DATES = {Family.DATE: "date", Family.TIMESTAMP: "timestamp", Family.TIMESTAMPTZ: "timestamp"}
_DATE_LENGTH = len("2002-01-01")
_NUMBERS = frozenset(
    {Family.INT16, Family.INT32, Family.INT64, Family.UINT32, Family.UINT64, Family.DECIMAL, Family.FLOAT64}
)


def condition(row_filter: RowFilter, zero_dates: str) -> str:
    """Return the condition; empty: none."""

    def expression(column: Column) -> str | None:
        return None if column.type.family in _DATES and zero_dates != "error" else _expression(column)

    return row_filter.sql(expression, literal_of)


def _expression(column: Column) -> str | None:
    name, native = identifier(column.name), parse_native(column.native)
    family = column.type.family
    if family in (Family.STRING, Family.ENUM):
        if native.base not in ("enum", "set") and native.charset not in ("", "utf8mb4", "utf8mb3"):
            return None
        return f"cast(convert({name} using utf8mb4) as binary)"
    if family is Family.FLOAT32:
        return f"{name} + 0e0"
    if family is Family.BOOLEAN:
        return f"{name} + 0"
    return name if family in _NUMBERS or family in _DATES or family is Family.TIME else None


def literal_of(column: Column, text: str) -> str | None:
    """Return a value, as text, as a column is compared with it; None: servers do not know it."""
    family = column.type.family
    if family in (Family.STRING, Family.ENUM):
        # MySQL 8.0.15 takes the literals of two conditions on one expression for numbers if nothing says `_binary`.
        return f"_binary x'{text.encode().hex()}'"
    if family in _DATES:
        text = text.removesuffix("+00")
        # A year of five digits, or before our era.
        is_plain = text[4] == text[7] == "-" and text[_DATE_LENGTH : _DATE_LENGTH + 1] in ("", " ")
        return f"{_DATES[family]} {literal(text)}" if is_plain else None
    if family is Family.TIME:
        return f"time {literal(text)}"
    if family is Family.BOOLEAN:
        return "1" if text == "true" else "0"
    if family in (Family.FLOAT32, Family.FLOAT64):
        return text if "e" in text else f"{text}e0"
    return text
