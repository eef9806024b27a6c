"""What each logical type is in a line of `load data`, in a literal, and in a staging table.

One entry per family: the expression that makes a value's text of a canonical value, and what the server makes of that
text where it cannot take it as it is. What the servers have no value for (infinities, years before 1 or after 9999,
more than 30 decimals) raises, and the row is refused: nothing is rounded or bent on the way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

from apply.sinks.mysql.arrays import array_json, array_reader
from apply.sinks.mysql.catalog import TargetColumn
from schemas.large_values import may_be_large
from schemas.table import Column
from schemas.twin import kinds
from schemas.types import Family, LogicalType
from schemas.types.numbers import NAN

DECIMAL_DIGITS_MAX, DECIMAL_SCALE_MAX = 65, 30
"""Of the servers' DECIMAL ("Fixed-Point Types")."""

DAY_US = 86_400_000_000
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_DAYS_MAX = 16_384
"""Days that are remembered: 45 years of them."""

TEXT_BASES = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
LABEL_BASES = frozenset({"enum", "set", "json", "uuid", "inet4", "inet6"})
BINARY_BASES = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector"})
GEOMETRY_BASES = frozenset(
    {
        "geometry",
        "point",
        "linestring",
        "polygon",
        "multipoint",
        "multilinestring",
        "multipolygon",
        "geometrycollection",
        "geomcollection",
    }
)


@dataclass(frozen=True, slots=True)
class Wire:
    """How a column's value becomes a field: `expression` over `{v}` gives its text."""

    expression: str
    is_free: bool = False
    """Whether the text may hold any character, so that it must be escaped."""
    sql: str = "{v}"
    """What the server takes for the value, over the text as a string."""
    number: bool = False
    """Whether the text is a number's literal as it stands."""

    def kind(self, type_: LogicalType) -> int:
        """Return as what the compiled twin sends values of a type (`schemas.twin.kinds`)."""
        if self.is_free:
            return kinds.TEXT if self.expression == "{v}" else kinds.CALLED
        # The text of a float is a science of its own.
        if type_.family in (Family.FLOAT32, Family.FLOAT64) or self.expression != _usual(type_).expression:
            return kinds.CALLED
        return kinds.DECIMAL if type_.family is Family.UINT64 else kinds.kind_of(type_)

    def streams(self, family: Family) -> bool:
        """Tell whether the field of a value that may be large is its text, escaped, or the digits of its bytes."""
        return not may_be_large(family) or self == (_DIGITS if family is Family.BYTES else _FREE)


class _Days(dict[int, str]):
    """The text of days since 1970, computed when they are first met. Raises ValueError or OverflowError outside."""

    def __missing__(self, day: int) -> str:
        if len(self) >= _DAYS_MAX:
            self.clear()
        text = self[day] = date.fromordinal(day + _EPOCH_ORDINAL).isoformat()
        return text


class _Clock(dict[int, str]):
    """The text of seconds since midnight."""

    def __missing__(self, second: int) -> str:
        text = self[second] = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
        return text


_days, _clock = _Days(), _Clock()


def stamp(value: int) -> str:
    """Return the text of microseconds since 1970."""
    day, us = divmod(value, DAY_US)
    second, us = divmod(us, 1_000_000)
    return f"{_days[day]} {_clock[second]}.{us:06}"


def clock(value: int) -> str:
    """Return the text of microseconds since midnight, 24:00:00 included."""
    second, us = divmod(value, 1_000_000)
    return f"{_clock[second]}.{us:06}"


def unreal(value: float) -> str:
    """Refuse a number that the servers do not have."""
    raise ValueError("neither NaN nor an infinity can be stored")


def numeric(value: Decimal) -> str:
    """Return the text of a decimal of any scale that DECIMAL(65,30) holds. Raises ValueError for another."""
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError("neither NaN nor an infinity can be stored")
    if len(digits) + exponent > DECIMAL_DIGITS_MAX - DECIMAL_SCALE_MAX and any(digits):
        # Printed, it could be as long as a number of PostgreSQL can be.
        raise ValueError("more digits than the column has")
    return _cut(f"{value:f}") if exponent < -DECIMAL_SCALE_MAX else f"{value:f}"


@cache
def unscaled(scale: int) -> Callable[[Any], str]:
    """Return the function that prints an unscaled integer with so many decimals."""

    def text(value: Any) -> str:
        if value is NAN:
            raise ValueError("no NaN can be stored")
        if scale <= 0:
            return str(value * 10**-scale)
        digits = str(abs(value)).rjust(scale + 1, "0")
        return f"{'-' if value < 0 else ''}{digits[:-scale]}.{digits[-scale:]}"

    return text if scale <= DECIMAL_SCALE_MAX else lambda value: _cut(text(value))


def _cut(text: str) -> str:
    """Return a number's text without the zeros that a column has no place for. Raises ValueError for other digits."""
    whole, _, decimals = text.partition(".")
    if decimals[DECIMAL_SCALE_MAX:].strip("0"):
        raise ValueError("more decimals than the column has")
    return f"{whole}.{decimals[:DECIMAL_SCALE_MAX]}"


def year(value: int) -> str:
    """Return a year's text: `0` would be the year 2000."""
    return f"{value:04}"


_SPAN = re.compile(r"PT(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?)(\d+)(?:\.(\d{1,6}))?S)?")


def span(value: str) -> str:
    """Return a span of time as TIME has it: `-838:00:01.500000`. Raises ValueError for one with days or months."""
    found = _SPAN.fullmatch(value)
    if found is None:
        raise ValueError("not a span of hours, minutes and seconds")
    hours, minutes, sign, seconds, fraction = found.groups()
    us = int(seconds or 0) * 1_000_000 + int((fraction or "").ljust(6, "0"))
    total = timedelta(hours=int(hours or 0), minutes=int(minutes or 0), microseconds=-us if sign else us)
    whole = abs(total) // timedelta(microseconds=1)
    second, us = divmod(whole, 1_000_000)
    return f"{'-' if total < timedelta() else ''}{second // 3600}:{second // 60 % 60:02}:{second % 60:02}.{us:06}"


NAMESPACE: dict[str, Any] = {
    "days": _days,
    "stamp": stamp,
    "clock": clock,
    "span": span,
    "unreal": unreal,
    "numeric": numeric,
    "year": year,
}
"""What expressions may call, besides `unscaled_N` and `array_NAME`."""

_PLAIN = Wire("{v}")
_NUMBER = Wire("{v}", number=True)
_FREE = Wire("{v}", is_free=True)
_DIGITS = Wire("{v}.hex()", sql="unhex({v})")
_REAL = Wire("({v} if {v} - {v} == 0 else unreal({v}))", number=True)
_BITS = "cast(conv({v}, 2, 10) as unsigned)"

_WIRES: dict[Family, Wire] = {
    Family.BOOLEAN: Wire("+{v}", number=True),
    Family.INT16: _NUMBER,
    Family.INT32: _NUMBER,
    Family.INT64: _NUMBER,
    Family.UINT32: _NUMBER,
    Family.UINT64: _NUMBER,
    Family.FLOAT32: _REAL,
    Family.FLOAT64: _REAL,
    Family.NUMERIC: Wire("numeric({v})", number=True),
    Family.STRING: _FREE,
    Family.BYTES: _DIGITS,
    Family.DATE: Wire("days[{v}]"),
    Family.TIME: Wire("clock({v})"),
    Family.TIMETZ: _PLAIN,
    Family.TIMESTAMP: Wire("stamp({v})"),
    Family.TIMESTAMPTZ: Wire("stamp({v})"),
    Family.INTERVAL: _PLAIN,
    Family.UUID: _PLAIN,
    Family.JSON: _FREE,
    Family.XML: _FREE,
    Family.ENUM: _FREE,
    Family.TEXT: _FREE,
}


def wire_of(column: Column, base: str) -> Wire:
    """Return how values of a column are sent to one of the target whose type has this bare name."""
    family = column.type.family
    if family is Family.DECIMAL:
        return _usual(column.type)
    if base == "year":
        return Wire("year({v})")
    if base == "bit":
        return Wire(_WIRES[family].expression, sql=_BITS)
    if family is Family.INTERVAL and base == "time":
        return Wire("span({v})")
    if family is Family.TEXT and column.native.endswith("[]"):
        return Wire(f"array_{array_reader(column.native)}({{v}})", is_free=True)
    return _usual(column.type)


def _usual(type_: LogicalType) -> Wire:
    if type_.family is Family.DECIMAL:
        return Wire(f"unscaled_{_signed(type_.scale or 0)}({{v}})", number=True)
    return _WIRES[type_.family]


def stage_type(target: TargetColumn, *, is_key: bool) -> str:
    """Return the type of a column of the staging table.

    A key's is the column's own, so that its index serves. Others of any length are staged in the widest type: the
    merge then refuses what is too long.
    """
    collation = f" character set {target.charset} collate {target.collation}" if target.charset else ""
    if target.base in TEXT_BASES or target.base in LABEL_BASES:
        return f"{target.type}{collation}" if is_key else "longtext character set utf8mb4"
    if target.base in BINARY_BASES or target.base in GEOMETRY_BASES:
        return target.type if is_key else "longblob"
    return target.type


def function(name: str) -> Any:
    """Return what an expression calls by name."""
    if name.startswith("unscaled_"):
        return unscaled(int(name.removeprefix("unscaled_").replace("minus", "-")))
    if name.startswith("array_"):
        return array_json(name.removeprefix("array_"))
    return NAMESPACE[name]


def _signed(scale: int) -> str:
    return f"minus{-scale}" if scale < 0 else str(scale)
