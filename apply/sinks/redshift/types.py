"""Redshift's types, and values as the fields of CSV that COPY reads.

What a type of Redshift does not hold is refused before it is staged: COPY refuses whole files. Sources: Amazon Redshift
database developer guide, "Data types", "Data format parameters" of COPY.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from schemas.table import Column
from schemas.types import Family, LogicalType
from schemas.types.calendar import SECONDS_PER_DAY, US_PER_SECOND
from schemas.types.numbers import NAN
from schemas.types.plain import key_plain, plain

TEXT_BYTES_MAX = 65_535
"""Of a VARCHAR. Its length counts bytes: a character may take four."""
CHARACTER_BYTES_MAX = 4
DECIMAL_DIGITS_MAX = 38
NULL = "\x01null\x01"
"""What stands for null in a file. Redshift tells no quoted text from it, so a text that is the same is refused."""

FIRST_DAY, LAST_DAY = -719_162, 2_932_896
US_PER_DAY = SECONDS_PER_DAY * US_PER_SECOND
"""The years 1 to 9999: what has one form in every reader of dates."""

Form = Callable[[Any], str]
"""From a canonical value, not None, to its text. Raises ValueError for what the column cannot hold."""


class ColumnType(NamedTuple):
    """A column at the target."""

    definition: str
    """Its type, as `create table` takes it and as the catalogue says it."""
    staged: str
    """The type of its column in the staging table."""
    form: Form

    def assigned(self, staged: str) -> str:
        """Return a staged value as an insert or update takes it."""
        return f"json_parse({staged})" if self.definition == "super" else staged


def column_type(column: Column, *, in_key: bool = False) -> ColumnType:
    """Return what a column becomes. Texts that are a key are the same for all equal values."""
    definition = _definition(column.type)
    staged = f"character varying({TEXT_BYTES_MAX})" if definition == "super" else definition
    return ColumnType(definition, staged, _form(column.type, definition, key_plain if in_key else plain))


def _definition(type_: LogicalType) -> str:
    family = type_.family
    if family in _NAMES:
        return _NAMES[family]
    if family is Family.DECIMAL and (type_.precision or 99) <= DECIMAL_DIGITS_MAX:
        return f"numeric({type_.precision},{type_.scale or 0})"
    length = type_.length if family is Family.STRING else None
    size = min(TEXT_BYTES_MAX, CHARACTER_BYTES_MAX * length) if length else TEXT_BYTES_MAX
    return f"character varying({size})"


_NAMES = {
    Family.BOOLEAN: "boolean",
    Family.INT16: "smallint",
    Family.INT32: "integer",
    Family.INT64: "bigint",
    Family.UINT32: "bigint",
    Family.UINT64: "numeric(20,0)",
    Family.FLOAT32: "real",
    Family.FLOAT64: "double precision",
    Family.DATE: "date",
    Family.TIME: "time without time zone",
    Family.TIMESTAMP: "timestamp without time zone",
    Family.TIMESTAMPTZ: "timestamp with time zone",
    Family.UUID: "character varying(36)",
    Family.JSON: "super",
}
"""Decimals apart; all others are texts."""


def _form(type_: LogicalType, definition: str, form_of: Callable[[LogicalType], Callable[[Any], Any]]) -> Form:
    form = form_of(type_)
    family = type_.family
    if definition.startswith("character varying") or definition == "super":
        size_max = TEXT_BYTES_MAX if definition == "super" else int(definition[18:-1])
        return lambda value: _text(str(form(value)), size_max, is_json=definition == "super")
    if family is Family.BOOLEAN:
        return lambda value: "true" if value else "false"
    if family is Family.DECIMAL:
        return lambda value: _refuse("a decimal is NaN") if value is NAN else str(form(value))
    if family is Family.DATE:
        return lambda value: form(value) if FIRST_DAY <= value <= LAST_DAY else _refuse(_YEARS)
    if family in (Family.TIMESTAMP, Family.TIMESTAMPTZ):
        return lambda value: form(value) if FIRST_DAY <= value // US_PER_DAY <= LAST_DAY else _refuse(_YEARS)
    if family is Family.TIME:
        return lambda value: form(value) if value < US_PER_DAY else _refuse("a time is 24:00:00")
    return lambda value: str(form(value))


_YEARS = "a time is not of the years 1 to 9999"


def _text(value: str, size_max: int, *, is_json: bool) -> str:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError("a text holds half a character, which UTF-8 has none for") from None
    if size > size_max:
        raise ValueError(f"a text of {size} bytes is longer than its column, of {size_max}")
    if "\0" in value or value == NULL:
        raise ValueError("a text holds a character that Redshift has none for")
    if is_json:
        try:
            json.loads(value, parse_constant=_refuse_constant)
        except RecursionError as error:
            raise ValueError("a JSON text is nested too deeply") from error
    return value


def _refuse_constant(_name: str) -> str:
    return _refuse("a JSON text holds NaN or Infinity, which JSON does not know")


def _refuse(message: str) -> str:
    raise ValueError(message)
