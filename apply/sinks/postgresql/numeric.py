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


@cache
def unscaled_encoder(scale: int) -> Callable[[Any], bytes]:
    """Return the function that makes a field of an unscaled integer (or NAN) of this scale."""
    if scale > 4:
        return lambda value: _NAN if value is NAN else _from_int(value, scale)
    unit = 10**scale
    lift = 10 ** (-scale % 4)
    fractions = 1 if scale else 0
    length_1, length_2 = 8 + 2 * (1 + fractions), 8 + 2 * (2 + fractions)
    count_1, count_2 = 1 + fractions, 2 + fractions
    pack_1, pack_2 = Struct(f">iHhHH{count_1}H").pack, Struct(f">iHhHH{count_2}H").pack

    def encode(value: Any) -> bytes:
        if value is NAN:
            return _NAN
        sign = 0
        size = value
        if value < 0:
            sign, size = _NEGATIVE, -value
        whole, part = divmod(size, unit)
        if whole < 10_000:
            return pack_1(length_1, count_1, 0, sign, scale, whole, part * lift)
        if whole < 100_000_000:
            high, low = divmod(whole, 10_000)
            return pack_2(length_2, count_2, 1, sign, scale, high, low, part * lift)
        return _from_int(value, scale)

    def encode_whole(value: Any) -> bytes:
        if value is NAN:
            return _NAN
        sign = 0
        size = value
        if value < 0:
            sign, size = _NEGATIVE, -value
        if size < 10_000:
            return pack_1(length_1, count_1, 0, sign, 0, size)
        if size < 100_000_000:
            high, low = divmod(size, 10_000)
            return pack_2(length_2, count_2, 1, sign, 0, high, low)
        return _from_int(value, 0)

    return encode if scale else encode_whole


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
