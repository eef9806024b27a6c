"""The plain form of values: what people and tools read in CSV, JSON lines and documents, and its way back.

Booleans, integers and finite floats stay what they are; all else is text, exact and without loss: decimals with all
their digits, ISO 8601 dates and times, bytes in base64. Years beyond 0 to 9999 have a sign, as ISO 8601 wants it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from schemas.types.calendar import SECONDS_PER_DAY, US_PER_SECOND, date_text, days_of, time_text, zoned_of
from schemas.types.logical import Family, LogicalType
from schemas.types.numbers import EXACT, NAN, float_of, float_text, key_decimal
from schemas.types.temporal import zoned_json
from schemas.types.text import base64_of, base64_text

INFINITE_DAY = (1 << 31) - 1
MINUS_INFINITE_DAY = -(1 << 31)

QUICK_DIGITS = 18
"""Of decimals that are written by arithmetic of machine words; larger ones go through `Decimal`."""

Form = Callable[[Any], Any]
"""From a canonical value, not None, to its plain form, or back."""

_DATE = re.compile(r"([+-]?\d{4,7})-(\d\d)-(\d\d)\Z")


def plain(type_: LogicalType) -> Form:
    """Return what makes a value of a type plain: a bool, int, float or str."""
    family = type_.family
    return _decimal(type_.scale or 0) if family is Family.DECIMAL else _PLAIN.get(family, _same)


def is_plain(type_: LogicalType) -> bool:
    """Tell whether all values of a type are plain as they are."""
    return plain(type_) is _same


def key_plain(type_: LogicalType) -> Form:
    """Return what makes key values plain: the same of all numbers that are equal, also under another scale."""
    family = type_.family
    if family is Family.DECIMAL:
        scale = type_.scale or 0
        return lambda v: "NaN" if v is NAN else format(key_decimal(Decimal(v).scaleb(-scale, EXACT)), "f")
    if family is Family.NUMERIC:
        return lambda v: format(key_decimal(v), "f")
    if family in (Family.FLOAT32, Family.FLOAT64):
        # Zero has no sign then.
        return lambda v: float_text(v + 0.0)
    return plain(type_)


def canonical(type_: LogicalType) -> Form:
    """Return what reads a plain value. It raises ValueError, TypeError or ArithmeticError for what is none."""
    family = type_.family
    if family is Family.DECIMAL:
        scale = type_.scale or 0
        return lambda t: NAN if t == "NaN" else int(Decimal(t).scaleb(scale, EXACT))
    return _CANONICAL.get(family, _same)


def decimal_digits(value: Any, scale: int) -> str:
    """Return an unscaled decimal as a text with all its decimals."""
    return "NaN" if value is NAN else format(Decimal(value).scaleb(-scale, EXACT), "f")


def timestamp_text(us: int) -> str:
    """Return the ISO text, with six decimals and without a zone, of a TIMESTAMP."""
    text = zoned_json(us) or ""
    return text.removesuffix("Z")


def _same(value: Any) -> Any:
    return value


def _decimal(scale: int) -> Form:
    """Return what `decimal_digits` does under a scale, quickly for numbers of ordinary size."""
    if not 0 < scale <= QUICK_DIGITS:
        return lambda v: decimal_digits(v, scale)
    unit, digits, end = 10**scale, f"%d.%0{scale}d", 10**QUICK_DIGITS

    def form(value: Any) -> str:
        if value.__class__ is int and 0 <= value < end:
            return digits % divmod(value, unit)  # type: ignore[no-any-return]
        return decimal_digits(value, scale)

    return form


def _date(days: int) -> str:
    if days == INFINITE_DAY:
        return "infinity"
    return "-infinity" if days == MINUS_INFINITE_DAY else date_text(days)


def _days(text: str) -> int:
    if text in {"infinity", "-infinity"}:
        return INFINITE_DAY if text == "infinity" else MINUS_INFINITE_DAY
    match = _DATE.match(text)
    if match is None:
        raise ValueError
    return days_of(*(int(part) for part in match.groups()))


def _time(us: int) -> str:
    second, rest = divmod(us, US_PER_SECOND)
    return f"{time_text(second)[1:]}{rest:06d}"


def _time_of(text: str) -> int:
    # 24:00:00 is a time of its own: not the next day's beginning.
    seconds = sum(int(part) * unit for part, unit in zip(text[:8].split(":"), (3600, 60, 1), strict=True))
    if not 0 <= seconds <= SECONDS_PER_DAY:
        raise ValueError
    return seconds * US_PER_SECOND + int(text[9:].ljust(6, "0"))


def _timestamp_of(text: str) -> int:
    return zoned_of((text if text.endswith("infinity") else f"{text}Z").encode())


_PLAIN: dict[Family, Form] = {
    Family.UINT64: str,
    Family.FLOAT32: float_text,
    Family.FLOAT64: float_text,
    Family.NUMERIC: lambda v: format(v, "f"),
    Family.BYTES: base64_text,
    Family.DATE: _date,
    Family.TIME: _time,
    Family.TIMESTAMP: timestamp_text,
    Family.TIMESTAMPTZ: zoned_json,
}
"""Families that are not here are what they are."""

_CANONICAL: dict[Family, Form] = {
    Family.UINT64: int,
    Family.FLOAT32: float_of,
    Family.FLOAT64: float_of,
    Family.NUMERIC: Decimal,
    Family.BYTES: base64_of,
    Family.DATE: _days,
    Family.TIME: _time_of,
    Family.TIMESTAMP: _timestamp_of,
    Family.TIMESTAMPTZ: lambda t: zoned_of(t.encode()),
}
