"""PostgreSQL's `numeric` in binary form, as unscaled integers and as decimals.

Wire form (`numeric_send` in `numeric.c`): int16 count of base-10000 digits, int16 weight of the first, uint16 sign,
uint16 display scale, then the digits.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from itertools import accumulate, repeat
from operator import mul
from struct import Struct
from typing import Any

from schemas.types.numbers import NAN

_NEGATIVE = 0x4000
_NOT_A_NUMBER = 0xC000
_INFINITY = 0xD000
_MINUS_INFINITY = 0xF000
_MEANINGS = {_NOT_A_NUMBER: "NaN", _INFINITY: "Infinity", _MINUS_INFINITY: "-Infinity"}

_head = Struct(">hhHH").unpack_from
_digits = [Struct(f">{n}H").unpack_from for n in range(65)]
_one = Struct(">H").unpack_from
_two = Struct(">HH").unpack_from
_three = Struct(">HHH").unpack_from
_POWERS = list(accumulate(repeat(10, 2099), mul, initial=1))
"""Precision and scale are at most 1000, and a digit group is four wide: no right value needs a higher one."""
_EXACT = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX)

DigitsReader = Callable[[bytes, int], Any]


def unscaled_reader(scale: int) -> DigitsReader:
    """Return a function that reads a `numeric(p, scale)` at an offset: its unscaled int, or `NAN`."""
    powers = _POWERS

    def read(data: bytes, at: int) -> Any:
        count, weight, sign, _ = _head(data, at)
        if count == 1:
            (value,) = _one(data, at + 8)
        elif count == 2:
            a, b = _two(data, at + 8)
            value = a * 10000 + b
        elif count == 3:
            a, b, c = _three(data, at + 8)
            value = (a * 10000 + b) * 10000 + c
        else:
            value = _join(data, at + 8, count)
        exponent = 4 * (weight - count + 1) + scale
        if exponent > 0:
            value *= powers[exponent]
        elif exponent < 0:
            value //= powers[-exponent]
        if not sign:
            return value
        if sign == _NEGATIVE:
            return -value
        if sign == _NOT_A_NUMBER:
            return NAN
        raise ValueError("a numeric of this precision cannot have this sign")

    return read


def read_decimal(data: bytes, at: int) -> Decimal:
    """Read a numeric of any scale at an offset. The display scale is kept: `1.50` is not `1.5`."""
    count, weight, sign, display = _head(data, at)
    if sign in _MEANINGS:
        return Decimal(_MEANINGS[sign])
    if count > 64:
        value = _long_decimal(data, at + 8, count, weight, display)
    else:
        unscaled = _join(data, at + 8, count)
        exponent = 4 * (weight - count + 1) + display
        unscaled = unscaled * 10**exponent if exponent >= 0 else unscaled // 10**-exponent
        value = Decimal(unscaled).scaleb(-display, _EXACT)
    # Not `-value`: that would round to the caller's context.
    return value.copy_negate() if sign == _NEGATIVE else value


def _join(data: bytes, at: int, count: int) -> int:
    value = 0
    groups = _digits[count] if 0 <= count <= 64 else Struct(f">{count}H").unpack_from
    for group in groups(data, at):
        value = value * 10000 + group
    return value


def _long_decimal(data: bytes, at: int, count: int, weight: int, display: int) -> Decimal:
    # By text: an int of 130,000 digits would cost quadratic time, and Python refuses to print it.
    groups = Struct(f">{count}H").unpack_from(data, at)
    text = "".join(f"{group:04d}" for group in groups)
    value = Decimal(text).scaleb(4 * (weight - count + 1), _EXACT)
    return value.quantize(Decimal(1).scaleb(-display, _EXACT), context=_EXACT)
