"""Canonical values as SQL, for looking rows up by their key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from capture.sources.mysql.charsets import spellings
from capture.sources.mysql.natives import parse_native
from capture.sources.mysql.quoting import identifier, literal
from schemas.table import Column, TableSchema
from schemas.types import Family

_EPOCH = date(1970, 1, 1)


def sql_value(column: Column, value: Any) -> str:
    """Return a value that is not null as an expression that the column can be compared with for equality."""
    family = column.type.family
    if family is Family.DECIMAL:
        scale = column.type.scale or 0
        digits = str(abs(value)).rjust(scale + 1, "0")
        sign = "-" if value < 0 else ""
        return sign + (f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits)
    if family is Family.BYTES:
        return f"x'{value.hex()}'"
    if family is Family.BOOLEAN:
        return f"b'{int(value)}'"
    if family is Family.TEXT and parse_native(column.native).base == "bit":
        return f"b'{value}'"
    convert = _TEMPORAL.get(family)
    if convert is not None:
        return literal(convert(value))
    if isinstance(value, str):
        return f"_utf8mb4 x'{value.encode().hex()}'" if value else "''"
    return repr(value)


def key_condition(table: TableSchema, row: tuple[Any, ...], zero_dates: str) -> str:
    """Return the condition that rows with this key meet: one, but where `zero_dates` makes several dates the same."""
    return " and ".join(_met(table.columns[i], row[i], zero_dates) for i in table.key)


def _met(column: Column, value: Any, zero_dates: str) -> str:
    name = identifier(column.name)
    if value is None:
        return _NO_DAY.format(name)
    equal = f"{name} {_equals(column, value)}"
    if zero_dates in ("error", "null") or column.type.family not in _DATES:
        return equal
    if (text := _TEMPORAL[column.type.family](value))[:10] != zero_dates:
        return equal
    # Of its text: MySQL has no time of day of such a date.
    clock = f" and cast(substr({name}, 12) as time(6)) = {literal(text[11:])}" if len(text) > 10 else ""
    return f"({equal} or {_NO_DAY.format(name)}{clock})"


def _equals(column: Column, value: Any) -> str:
    charset = parse_native(column.native).charset
    if charset and isinstance(value, str) and (texts := spellings(charset, value)):
        # The server would write each character by one of its codes, and not find the row that has another.
        codes = [f"_{charset} x'{text.hex()}'" for text in texts]
        return f"in ({', '.join(codes)})"
    return f"= {sql_value(column, value)}"


def _date(days: int) -> str:
    return (_EPOCH + timedelta(days=days)).isoformat()


def _timestamp(us: int) -> str:
    days, rest = divmod(us, 86_400_000_000)
    seconds, fraction = divmod(rest, 1_000_000)
    return f"{_date(days)} {seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{fraction:06d}"


def _interval(text: str) -> str:
    fields = {"H": "0", "M": "0", "S": "0"}
    number = ""
    for sign in text.removeprefix("PT"):
        if sign in fields:
            fields[sign], number = number.lstrip("-"), ""
        else:
            number += sign
    return f"{'-' if '-' in text else ''}{fields['H']}:{fields['M']}:{fields['S']}"


_TEMPORAL: dict[Family, Callable[[Any], str]] = {
    Family.DATE: _date,
    Family.TIMESTAMP: _timestamp,
    Family.TIMESTAMPTZ: _timestamp,
    Family.INTERVAL: _interval,
}
_DATES = (Family.DATE, Family.TIMESTAMP, Family.TIMESTAMPTZ)
_NO_DAY = (
    "(year({0}) = 0 or month({0}) = 0 or day({0}) = 0"
    " or day({0}) > day(last_day(concat(year({0}), '-', month({0}), '-01'))))"
)
"""What dates meet in whose place `source.zero_dates` stands; see `temporals`."""
