"""What becomes of values of other engines at a MySQL target, and which it has no place for."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

from schemas.table import Column
from schemas.types import Family, LogicalType
from schemas.types.numbers import NAN

DAY_US = 86_400_000_000
FIRST_DAY, LAST_DAY = -719_162, 2_932_896
"""0001-01-01 and 9999-12-31."""

ARRAYS = {
    "{}": [],
    "{1,NULL,-2147483648}": [1, None, -(2**31)],
    "{{1,2},{3,4}}": [[1, 2], [3, 4]],
    "[0:1]={5,6}": [5, 6],
    '{"",NULL,"NULL","a\\"b","c,d"}': ["", None, "NULL", 'a"b', "c,d"],
    "{世界}": ["世界"],
}


def is_refused(type_: LogicalType, value: Any, *, is_mariadb: bool) -> bool:
    """Tell whether the target has no place for a value."""
    match type_.family:
        case Family.JSON:
            # MariaDB's limit of what it takes for JSON; MySQL's of numbers in it.
            return value.startswith("[" * 33) if is_mariadb else "1e400" in value
        case Family.FLOAT32 | Family.FLOAT64:
            return not math.isfinite(value)
        case Family.DECIMAL:
            if value is NAN:
                return True
            return not _has_place(Decimal((value < 0, tuple(map(int, str(abs(value)))), -(type_.scale or 0))))
        case Family.NUMERIC:
            return not value.is_finite() or not _has_place(value)
        case Family.DATE:
            return not FIRST_DAY <= value <= LAST_DAY
        case Family.TIMESTAMP | Family.TIMESTAMPTZ:
            return not FIRST_DAY <= value // DAY_US <= LAST_DAY
        case _:
            return False


def _has_place(value: Decimal) -> bool:
    """Tell whether DECIMAL(65,30) has a value."""
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    trailing = len(digits) - len("".join(map(str, digits)).rstrip("0"))
    return not any(digits) or (len(digits) + exponent <= 35 and -(exponent + trailing) <= 30)


def normal(column: Column, value: Any, *, is_mariadb: bool) -> Any:
    """Return a value of a source's column in a form that what was read can be compared with."""
    if value is None:
        return None
    match column.type.family:
        case Family.DECIMAL:
            return _digits(Decimal(value).scaleb(-(column.type.scale or 0)))
        case Family.NUMERIC:
            return _digits(value)
        case Family.JSON:
            return value if is_mariadb else _parsed(value)
        case Family.TEXT if column.native.endswith("[]"):
            return ARRAYS[value]
        case Family.FLOAT32 | Family.FLOAT64:
            # MySQL prints a negative zero as what it is, MariaDB as well; as numbers they are equal.
            return value + 0.0
        case _:
            return value


def found(column: Column, value: Any, there: Column, *, is_mariadb: bool) -> Any:
    """Return what the source of MySQL reads in the target's column `there`, in the same form."""
    if value is None:
        return None
    match column.type.family:
        case Family.BOOLEAN:
            return bool(value)
        case Family.DECIMAL | Family.NUMERIC:
            return _digits(Decimal(value).scaleb(-(there.type.scale or 0)))
        case Family.TIME:
            return _clock_us(value)
        case Family.JSON:
            return value if is_mariadb else _parsed(value)
        case Family.TEXT if column.native.endswith("[]"):
            return json.loads(value)
        case Family.FLOAT32 | Family.FLOAT64:
            return value + 0.0
        case _:
            return value


def _digits(value: Decimal) -> str:
    """Return a number's digits: the target has one number of decimals for all values."""
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _parsed(text: str) -> Any:
    # An object's names stand once; the last one counts.
    return json.loads(text)


def _clock_us(span: str) -> int:
    """Return the microseconds of a span such as `PT24H`."""
    total, number = Decimal(0), ""
    for letter in span.removeprefix("PT"):
        if letter in "HMS":
            total += Decimal(number) * {"H": 3600, "M": 60, "S": 1}[letter]
            number = ""
        else:
            number += letter
    return int(total * 1_000_000)
