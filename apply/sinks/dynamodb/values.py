"""Values as attributes of DynamoDB, in the form of its protocol: `{"N": "1.5"}`.

A number is a number wherever DynamoDB can hold it exactly; what it cannot (more than 38 digits, NaN, infinities, minus
zero) is its exact text. So nothing is rounded and no row is refused for it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from schemas.types import Family, LogicalType
from schemas.types.numbers import EXACT, NAN
from schemas.types.plain import QUICK_DIGITS, canonical, plain

NUMBER_DIGITS_MAX = 38
NUMBER_EXPONENT_MAX = 125
NUMBER_EXPONENT_MIN = -130
"""Digits, and the power of ten of the first one. Developer guide, "Supported data types and naming rules": Number."""

ITEM_BYTES_MAX = 400 << 10
"""Names and values of an item. Developer guide, "Quotas": Items."""

NESTED_BYTES = 3
"""What a list or a map takes beside its members, each of which takes one more. Developer guide, "DynamoDB item
sizes"."""

Attribute = dict[str, Any]
Encode = Callable[[Any], Attribute]
"""From a canonical value, not None."""
Decode = Callable[[Attribute], Any]

INTEGERS = frozenset({Family.INT16, Family.INT32, Family.INT64, Family.UINT32, Family.UINT64})


def encoder(type_: LogicalType) -> Encode:
    """Return what makes attributes of a type's values."""
    family = type_.family
    if family in INTEGERS:
        return lambda v: {"N": str(v)}
    if family is Family.BOOLEAN:
        return lambda v: {"BOOL": v}
    if family is Family.BYTES:
        return lambda v: {"B": v}
    form = plain(type_)
    if family is Family.DECIMAL:
        scale = type_.scale or 0
        if 0 < scale <= QUICK_DIGITS:
            return _decimal(scale)
        return lambda v: (number(Decimal(v).scaleb(-scale, EXACT)) if v is not NAN else None) or {"S": form(v)}
    if family is Family.NUMERIC:
        return lambda v: number(v) or {"S": form(v)}
    if family in (Family.FLOAT32, Family.FLOAT64):
        # Numbers have no minus zero.
        return lambda v: (number(Decimal(repr(v))) if v or str(v) == "0.0" else None) or {"S": str(form(v))}
    return lambda v: {"S": form(v)}


def _decimal(scale: int) -> Encode:
    """Return what `encoder` does for decimals, quickly for those of ordinary size."""
    unit, digits, end, form = (
        10**scale,
        f"%d.%0{scale}d",
        10**QUICK_DIGITS,
        plain(LogicalType(Family.DECIMAL, scale=scale)),
    )

    def encode(value: Any) -> Attribute:
        if value.__class__ is int and 0 <= value < end:
            return {"N": (digits % divmod(value, unit)).rstrip("0").rstrip(".")}
        return (number(Decimal(value).scaleb(-scale, EXACT)) if value is not NAN else None) or {"S": form(value)}

    return encode


def decoder(type_: LogicalType) -> Decode:
    """Return what reads a type's attributes. It raises ValueError, TypeError or ArithmeticError for others."""
    family, form = type_.family, canonical(type_)

    def decode(attribute: Attribute) -> Any:
        ((kind, value),) = attribute.items()
        if family in (Family.FLOAT32, Family.FLOAT64):
            return float(value)
        if kind == "N":
            if family is Family.DECIMAL:
                return int(Decimal(value).scaleb(type_.scale or 0, EXACT))
            return Decimal(value) if family is Family.NUMERIC else int(value)
        return value if kind in ("BOOL", "B") else form(value)

    return decode


def key_type(type_: LogicalType) -> str:
    """Return the type of key attributes for a type: a number, bytes, or text for all else."""
    if type_.family in INTEGERS:
        return "N"
    if type_.family is Family.DECIMAL and (type_.precision or NUMBER_DIGITS_MAX + 1) <= NUMBER_DIGITS_MAX:
        return "N"
    return "B" if type_.family is Family.BYTES else "S"


def number(value: Decimal) -> Attribute | None:
    """Return a number without zeros that say nothing; None if DynamoDB cannot hold it exactly."""
    if not value.is_finite():
        return None
    if not value:
        return {"N": "0"}
    if len(value.as_tuple().digits) > NUMBER_DIGITS_MAX:
        value = value.normalize(EXACT)
        if len(value.as_tuple().digits) > NUMBER_DIGITS_MAX:
            return None
    if not NUMBER_EXPONENT_MIN <= value.adjusted() <= NUMBER_EXPONENT_MAX:
        return None
    return {"N": format(value.normalize(EXACT), "f")}


def number_of(text: str) -> Attribute | None:
    """Return the number that a text is; None for what is none."""
    try:
        return number(Decimal(text))
    except InvalidOperation:
        return None


def size(attribute: Attribute) -> int:
    """Return the bytes that an attribute counts, about: of a number somewhat more than it does."""
    ((kind, value),) = attribute.items()
    if kind == "S":
        return len(value.encode())
    if kind == "N":
        return len(value) // 2 + 2
    if kind == "B":
        return len(value)
    if kind == "M":
        return NESTED_BYTES + sum(1 + len(name.encode()) + size(inner) for name, inner in value.items())
    if kind == "L":
        return NESTED_BYTES + sum(1 + size(inner) for inner in value)
    if kind in ("SS", "NS", "BS"):
        return sum(size({kind[0]: inner}) for inner in value)
    return 1


def item_size(item: dict[str, Attribute]) -> int:
    """Return the bytes that an item counts, about."""
    total = 0
    for name, attribute in item.items():
        total += len(name) if name.isascii() else len(name.encode())
        for kind, value in attribute.items():
            # The frequent kinds here: what `size` says of them, without a call for each.
            if kind == "S":
                total += len(value) if value.isascii() else len(value.encode())
            elif kind == "N":
                total += len(value) // 2 + 2
            else:
                total += size(attribute)
    return total
