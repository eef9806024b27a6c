"""What rules do to single values: texts of canonical values and back, conversions to another type, masks.

Every function takes a value that is neither None nor UNCHANGED. One that cannot do what it should raises ValueError
without the value: nothing is rounded, cut off or guessed.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from schemas.types import Family, LogicalType
from schemas.types.calendar import SECONDS_PER_DAY, US_PER_SECOND, date_text, days_of, time_text, zoned_of, zoned_text
from schemas.types.numbers import NAN, from_scaled, scaled

Convert = Callable[[Any], Any]

RANGES = {
    Family.INT16: range(-(1 << 15), 1 << 15),
    Family.INT32: range(-(1 << 31), 1 << 31),
    Family.INT64: range(-(1 << 63), 1 << 63),
    Family.UINT32: range(1 << 32),
    Family.UINT64: range(1 << 64),
}
_FLOATS = (Family.FLOAT32, Family.FLOAT64)
_NS_PER_SECOND = 1000 * US_PER_SECOND
_DAY_EXTREMES = {(1 << 31) - 1: "infinity", -(1 << 31): "-infinity"}
_TIME = re.compile(r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?", re.ASCII)
_MOMENT = re.compile(
    r"([+-]?\d{4,6})([-:])(\d\d)\2(\d\d)(?:[ T](\d\d:[\d:.]+)(?: ?(Z|[+-]\d\d(?::?\d\d(?::?\d\d)?)?))?)?", re.ASCII
)
"""A date with hyphens or colons, and what may stand behind it. AWS DMS user guide, "Transformation rules and actions",
of `data-type`."""
_TRUE = frozenset({"1", "t", "true", "y", "yes", "on"})
_FALSE = frozenset({"0", "f", "false", "n", "no", "off"})


def to_text(type_: LogicalType) -> Convert:
    """Return the function from a type's values to their texts: ISO for times, plain digits for numbers."""
    family = type_.family
    if family is Family.BOOLEAN:
        return lambda value: "true" if value else "false"
    if family is Family.DECIMAL:
        return lambda value: "NaN" if value is NAN else format(from_scaled(value, type_.scale or 0), "f")
    if family is Family.NUMERIC:
        return lambda value: format(value, "f")
    if family is Family.BYTES:
        return lambda value: value.hex()
    if family is Family.DATE:
        return lambda value: _DAY_EXTREMES.get(value) or date_text(value)
    if family is Family.TIME:
        return _time_text
    if family in (Family.TIMESTAMP, Family.TIMESTAMPTZ):
        end = "+00" if family is Family.TIMESTAMPTZ else ""
        return lambda value: zoned_text(value).replace("T", " ").replace("Z", end)
    return str


def from_text(type_: LogicalType) -> Convert:
    """Return the function from texts to a type's values. It raises ValueError for a text that is none."""
    family = type_.family
    if family is Family.BOOLEAN:
        return _boolean
    if family in RANGES:
        return lambda text: _whole(Decimal(numeral(text)), RANGES[family])
    if family in _FLOATS:
        return lambda text: float(numeral(text))
    if family is Family.DECIMAL:
        return lambda text: _unscaled(Decimal(numeral(text)), type_)
    if family is Family.NUMERIC:
        return lambda text: Decimal(numeral(text))
    if family is Family.BYTES:
        return lambda text: text.encode()
    if family is Family.DATE:
        return _date
    if family is Family.TIME:
        return _time
    if family in (Family.TIMESTAMP, Family.TIMESTAMPTZ):
        return _timestamp
    if type_.length is not None:
        length = type_.length
        return lambda text: _bounded(text, length)
    return str


def converter(source: LogicalType, target: LogicalType, of: str = "") -> Convert | None:
    """Return the function from one type's values to another's; None where they are the same values.

    `of` stands before what its errors say.
    """
    if source == target:
        return None
    text, value = to_text(source), from_text(target)
    if source.family is Family.BOOLEAN and target.family in {*RANGES, *_FLOATS}:
        return int if target.family in RANGES else float
    if source.family in _FLOATS and target.family in (*RANGES, Family.DECIMAL):
        # The decimals that a float stands for, not those of its binary value.
        text = repr
    if source.family is target.family is Family.BYTES:
        return None
    return lambda given: _guarded(value, text(given), target, of)


def numeral(text: str) -> str:
    """Return the text of a number. Raises ValueError for what only Python takes for one: `1_000`, other scripts."""
    if "_" in text or not text.isascii():
        raise ValueError("no number")
    return text


def digits_mask(character: str) -> Convert:
    """Return the function that puts `character` in the place of every digit of a text."""
    table = str.maketrans(dict.fromkeys("0123456789", character))
    return lambda text: text.translate(table)


def digits_randomize(text: str) -> str:
    """Return the text with every digit replaced by a random one."""
    return "".join(random.choice("0123456789") if "0" <= c <= "9" else c for c in text)


def digits_randomizer(type_: LogicalType, native: str) -> Convert | None:
    """Return the function that puts random digits into whole numbers or decimals of a type, and into texts; None: it
    knows no such values.
    """
    if type_.family in (Family.STRING, Family.TEXT):
        return digits_randomize
    if type_.family not in _DIGITS or native.startswith("year"):
        return None
    text, value = to_text(type_), from_text(type_)
    bits = next((bits for start, bits in _BITS.items() if native.startswith(start)), 0)
    bounds = range(1 << bits) if "unsigned" in native else range(-(1 << bits >> 1), 1 << bits >> 1)

    def randomize(given: Any) -> Any:
        said = digits_randomize(text(given))
        try:
            found = value(said)
            if not bits or found in bounds:
                return found
        except ValueError:
            pass
        # Larger than the type: with as many digits, of which the first is none, it is not.
        return value(re.sub("[0-9]", "0", said, count=1))

    return randomize


_DIGITS = frozenset({*RANGES, Family.DECIMAL, Family.NUMERIC})
_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24}
"""Whole numbers that may have fewer bits than their family."""


def hash_mask(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal, in the guide's capitals ("Using data masking")."""
    return hashlib.sha256(text.encode()).hexdigest().upper()


def _guarded(value: Convert, text: str, target: LogicalType, of: str) -> Any:
    try:
        return value(text)
    except (ValueError, ArithmeticError):
        pass
    # Not chained: the error of a conversion quotes what it could not convert.
    raise ValueError(f"{of}a value has no like in {target.family}")


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("no boolean")


def _whole(value: Decimal, bounds: range) -> int:
    if not value.is_finite() or value != value.to_integral_value() or int(value) not in bounds:
        raise ValueError("no integer of this size")
    return int(value)


def _unscaled(value: Decimal, type_: LogicalType) -> Any:
    if value.is_nan():
        return NAN
    n, scale = scaled(value)
    wanted = type_.scale or 0
    if scale <= wanted:
        n *= 10 ** (wanted - scale)
    else:
        n, rest = divmod(n, 10 ** (scale - wanted))
        if rest:
            raise ValueError("more decimals than the type has")
    if type_.precision is not None and abs(n) >= 10**type_.precision:
        raise ValueError("more digits than the type has")
    return n


def _bounded(text: str, length: int) -> str:
    if len(text) > length:
        raise ValueError("longer than the type allows")
    return text


def _date(text: str) -> int:
    """Return the day of a date, or of a moment where that is written."""
    year, _, month, day, *_ = _moment(text)
    return days_of(int(year), int(month), int(day))


def _time(text: str) -> int:
    value, finer = divmod(_nanoseconds(text), 1000)
    if finer:
        raise ValueError("more decimals than the type has")
    return value


def _timestamp(text: str) -> int:
    text = text.strip()
    if text in ("infinity", "-infinity"):
        return zoned_of(text.encode())
    year, _, month, day, time, zone = _moment(text)
    return zoned_of(f"{year}-{month}-{day}T{time or '00:00'}{zone or 'Z'}".encode())


def _moment(text: str) -> tuple[str, ...]:
    """Return the parts of a date, or of a date and a time."""
    found = _MOMENT.fullmatch(text.strip())
    if found is None:
        raise ValueError("no moment")
    if found[5]:
        _nanoseconds(found[5])
    return found.groups()


def _nanoseconds(text: str) -> int:
    """Return those since midnight of a time."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("no time")
    hour, minute, second = (int(part or 0) for part in found.group(1, 2, 3))
    value = ((hour * 60 + minute) * 60 + second) * _NS_PER_SECOND + int((found[4] or "").ljust(9, "0"))
    # 24:00 is the day's end, and a second may be a leap second.
    if minute > 59 or second > 60 or value > SECONDS_PER_DAY * _NS_PER_SECOND:
        raise ValueError("no time")
    return value


def _time_text(value: int) -> str:
    second, us = divmod(value, US_PER_SECOND)
    return f"{time_text(second)[1:]}{us:06d}"
