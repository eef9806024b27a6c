"""Values in BSON, exact: what a type of BSON cannot hold is its exact text.

Numbers are 64-bit integers, doubles, or Decimal128 (34 digits). Dates and times are BSON dates, which count
milliseconds: what a time has beyond them stands beside it, in `tailrace_us`. JSON becomes nested documents where these
say the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal, DecimalException
from typing import Any, cast

from bson import Decimal128, Int64
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import create_decimal128_context

from schemas.types import Family, LogicalType
from schemas.types.numbers import EXACT, NAN
from schemas.types.plain import QUICK_DIGITS, plain

MS_PER_DAY = 86_400_000
FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999. MongoDB has dates of others, which many of its clients cannot read: those are text."""

INT64_MAX = (1 << 63) - 1
NESTING_MAX = 90
"""Levels of nested JSON. MongoDB's limit for documents is 100 (its manual, "MongoDB limits and thresholds")."""

_DECIMAL128 = create_decimal128_context()

Form = Callable[[Any], Any]


class UnfitError(ValueError):
    """A JSON text says what no document can say in the same way."""


def form(type_: LogicalType, json_form: str) -> Form:
    """Return what makes BSON values of a type's canonical values, not None."""
    family = type_.family
    if family is Family.JSON and json_form == "document":
        return nested
    if family in (Family.INT64, Family.UINT32):
        return Int64
    if family in (Family.BOOLEAN, Family.BYTES, Family.FLOAT32, Family.FLOAT64, Family.INT16, Family.INT32):
        return _same
    if family is Family.UINT64:
        return lambda v: Int64(v) if v <= INT64_MAX else Decimal128(str(v))
    text = plain(type_)
    if family is Family.DECIMAL:
        scale = type_.scale or 0
        if 0 <= scale <= QUICK_DIGITS:
            return _scaled(scale, text)
        return lambda v: Decimal128("NaN") if v is NAN else _decimal(Decimal(v).scaleb(-scale, EXACT)) or text(v)
    if family is Family.NUMERIC:
        return lambda v: _decimal(v) or text(v)
    if family is Family.DATE:
        return lambda v: _date(v * MS_PER_DAY) or text(v)
    if family in TIMES:
        return lambda v: _date(v // 1000) or text(v)
    return text


TIMES = frozenset({Family.TIMESTAMP, Family.TIMESTAMPTZ})


def microseconds(value: Any) -> int:
    """Return what a time has beyond its milliseconds."""
    return int(value % 1000) if value is not None and FIRST_MS <= value // 1000 <= LAST_MS else 0


def nested(text: str) -> Any:
    """Return a JSON object or array as a document or array. All else, and what would not be the same, stays text."""
    try:
        parsed = _JSON.decode(text)
        return _checked(parsed, 0) if isinstance(parsed, dict | list) else text
    except (ValueError, RecursionError):
        return text


def _same(value: Any) -> Any:
    return value


def _date(ms: int) -> DatetimeMS | None:
    return DatetimeMS(ms) if FIRST_MS <= ms <= LAST_MS else None


def _decimal(value: Decimal) -> Decimal128 | None:
    """Return a decimal with all its digits, zeros at the end included; None if it has too many."""
    try:
        if value.is_finite() and _DECIMAL128.create_decimal(value).as_tuple() != value.as_tuple():
            return None
        return Decimal128(value)
    except DecimalException:
        return None


def _scaled(scale: int, text: Form) -> Form:
    """Return what makes Decimal128 of unscaled decimals, quickly of those of ordinary size.

    IEEE 754-2008, the binary encoding of decimal128: the sign, the exponent over 6176 in 14 bits, the coefficient.
    """
    high, end = 6176 - scale << 49, 10**QUICK_DIGITS

    def make(value: Any) -> Any:
        if value.__class__ is int and 0 <= value < end:
            # Its types do not tell of the pair of 64 bits each that its documentation does.
            return Decimal128(cast("Any", (high, value)))
        return Decimal128("NaN") if value is NAN else _decimal(Decimal(value).scaleb(-scale, EXACT)) or text(value)

    return make


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs) or "\0" in "".join(made):
        raise UnfitError
    return made


def _integer(text: str) -> Any:
    if len(text) < QUICK_DIGITS and text != "-0":
        return int(text)
    value = int(text) if len(text) < 100 else None
    if value is not None and -INT64_MAX - 1 <= value <= INT64_MAX and text != "-0":
        return value
    return _exact(text)


def _float(text: str) -> Any:
    value = float(text)
    if value and repr(value) == text:
        return value
    if Decimal(repr(value)) == Decimal(text) and (value or not text.startswith("-")):
        return value
    return _exact(text)


def _exact(text: str) -> Decimal128:
    made = _decimal(Decimal(text))
    if made is None:
        raise UnfitError
    return made


def _refuse(_constant: str) -> Any:
    raise UnfitError


def _checked(value: Any, depth: int) -> Any:
    if depth > NESTING_MAX:
        raise UnfitError
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            _checked(inner, depth + 1)
    return value


_JSON = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_int=_integer, parse_constant=_refuse)
