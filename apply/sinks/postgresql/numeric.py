"""PostgreSQL's binary `numeric`, made from unscaled integers and from decimals.

Source: `numeric_recv` in src/backend/utils/adt/numeric.c: int16 digit count, int16 weight of the first digit, uint16
sign (or what special value it is), uint16 display scale, then digits in base 10,000. Leading zeros are stripped by the
server, so fixed shapes may be sent. What these functions return is the whole field, its length included.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import cache
from struct import Struct
from typing import Any

from schemas.types.numbers import NAN

_HEAD = Struct(">iHhHH").pack
_NEGATIVE = 0x4000
_NAN = _HEAD(8, 0, 0, 0xC000, 0)
_INFINITY = _HEAD(8, 0, 0, 0xD000, 0x20)
_MINUS_INFINITY = _HEAD(8, 0, 0, 0xF000, 0x20)
"""The infinities exist since PostgreSQL 14; an older server refuses the row (22P03)."""


FIXED_SCALE_MAX = 4
FIXED_LETTERS = "iHhHHHHH"
"""The letters for `struct` of a field with three digits: the last one for up to four decimals, if there are any."""


def fixed_lines(v: str, scale: int, suffix: str) -> list[str]:
    """Return the lines that take an unscaled integer apart; `full` becomes false if it does not fit in three digits.

    For scale 2 and the suffix 3 these are

        if v3 < 0: x3, y3 = 16384, -v3
        else: x3, y3 = 0, v3
        if not y3 < 10000000000: full = False
    """
    return [
        f"if {v} < 0: x{suffix}, y{suffix} = {_NEGATIVE}, -{v}",
        f"else: x{suffix}, y{suffix} = 0, {v}",
        # The NaN is below nothing.
        f"if not y{suffix} < {_fixed_end(scale)}: full = False",
    ]


def fixed_values(scale: int, suffix: str) -> list[str]:
    """Return the expressions for `FIXED_LETTERS` that follow `fixed_lines`."""
    y, unit = f"y{suffix}", 10**scale if scale else 10_000
    last = f"{y} % {unit}" if scale in (0, 4) else f"{y} % {unit} * {10 ** (4 - scale)}"
    digits = [f"{y} // {10_000 * unit}", f"{y} // {unit} % 10000", last]
    return ["14", "3", str(_fixed_weight(scale)), f"x{suffix}", str(scale), *digits]


def _fixed_end(scale: int) -> int:
    return int(10 ** (8 + (scale or 4)))


def _fixed_weight(scale: int) -> int:
    return 1 if scale else 2


@cache
def unscaled_encoder(scale: int) -> Callable[[Any], bytes]:
    """Return the function that makes a field of an unscaled integer (or NAN) of this scale."""
    if scale > FIXED_SCALE_MAX:
        return lambda value: _NAN if value is NAN else _from_int(value, scale)
    end, weight = _fixed_end(scale), _fixed_weight(scale)
    unit = 10**scale if scale else 10_000
    lift = 10_000 // unit
    pack = Struct(f">{FIXED_LETTERS}").pack

    def encode(value: Any) -> bytes:
        if value is NAN:
            return _NAN
        size = abs(value)
        if size >= end:
            return _from_int(value, scale)
        high, low = divmod(size // unit, 10_000)
        return pack(14, 3, weight, _NEGATIVE if value < 0 else 0, scale, high, low, size % unit * lift)

    return encode


def encode_decimal(value: Decimal) -> bytes:
    """Make a field of a decimal of any scale; its trailing zeros are kept."""
    sign, digits, exponent = value.as_tuple()
    if isinstance(exponent, str):
        if exponent == "F":
            return _MINUS_INFINITY if sign else _INFINITY
        return _NAN
    text = "".join(map(str, digits)) + "0" * max(exponent, 0)
    scale = max(-exponent, 0)
    whole = len(text) - scale
    if whole < 0:
        text = "0" * -whole + text
        whole = 0
    text = "0" * (-whole % 4) + text + "0" * (-scale % 4)
    groups = [int(text[i : i + 4]) for i in range(0, len(text), 4)]
    first = 0
    while first < len(groups) and not groups[first]:
        # A number like 1e-1000 begins with many groups of zeros: the server's count of digits is 16 bits wide.
        first += 1
    weight = (whole + 3) // 4 - 1 - first
    return _field(groups[first:], weight, bool(sign), scale)


def _from_int(value: int, scale: int) -> bytes:
    rest = abs(value) * 10 ** (-scale % 4)
    groups: list[int] = []
    while rest:
        rest, group = divmod(rest, 10_000)
        groups.append(group)
    groups.reverse()
    return _field(groups, len(groups) - 1 - (scale + 3) // 4, value < 0, scale)


def _field(groups: list[int], weight: int, negative: bool, scale: int) -> bytes:
    count = len(groups)
    if not count:
        weight = 0
    head = _HEAD(8 + 2 * count, count, weight, _NEGATIVE if negative and count else 0, scale)
    return head + Struct(f">{count}H").pack(*groups)
