"""Whether a column that the target has can hold every value of a source's column, without loss.

A narrower column is refused when the table is prepared, not when the first large value arrives: the servers round
fractions of a second, and decimals, without a word that would stop anybody.
"""

from __future__ import annotations

import re

from apply.sinks.mysql.catalog import TargetColumn
from apply.sinks.mysql.types import DECIMAL_DIGITS_MAX, DECIMAL_SCALE_MAX
from schemas.table import Column
from schemas.types import Family

_INTEGER_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_RANGES = {
    Family.BOOLEAN: (0, 1),
    Family.INT16: (-(1 << 15), (1 << 15) - 1),
    Family.INT32: (-(1 << 31), (1 << 31) - 1),
    Family.INT64: (-(1 << 63), (1 << 63) - 1),
    Family.UINT32: (0, (1 << 32) - 1),
    Family.UINT64: (0, (1 << 64) - 1),
}
_DIGITS = {Family.INT16: 5, Family.INT32: 10, Family.INT64: 19, Family.UINT32: 10, Family.UINT64: 20}
_TEXT_BYTES = {"tinytext": 255, "text": 65_535, "mediumtext": (1 << 24) - 1, "longtext": (1 << 32) - 1}
_AS_TEXT = frozenset({"longtext"})
_BASES: dict[Family, frozenset[str]] = {
    Family.FLOAT32: frozenset({"float", "double"}),
    Family.FLOAT64: frozenset({"double"}),
    Family.BYTES: frozenset({"longblob"}),
    Family.DATE: frozenset({"date", "datetime"}),
    Family.JSON: frozenset({"json"}),
}


def holds(column: Column, native: str, target: TargetColumn) -> bool:
    """Tell whether `target` takes every value of `column`, whose type the target calls `native`."""
    if spelled(native) == spelled(target.type) or target.base in _AS_TEXT:
        return True
    family, base = column.type.family, target.base
    if base in _INTEGER_BITS and family in _RANGES:
        bits = _INTEGER_BITS[base]
        low, high = (0, (1 << bits) - 1) if "unsigned" in target.type else (-(1 << bits - 1), (1 << bits - 1) - 1)
        return low <= _RANGES[family][0] and _RANGES[family][1] <= high
    if base == "decimal":
        return _decimal_holds(column, target)
    if base in ("varchar", "char", "varbinary", "binary"):
        own = re.fullmatch(r"var(char|binary)\((\d+)\)", native)
        return own is not None and own[1] in base and base.startswith("var") and int(own[2]) <= target.length
    if base in _TEXT_BYTES and family is Family.STRING and column.type.length:
        return column.type.length * 4 <= _TEXT_BYTES[base]
    if base in ("datetime", "time", "timestamp"):
        # The fraction is the whole question; the range of `timestamp` is too small for any other type.
        own = re.fullmatch(rf"{base}(?:\((\d)\))?", native)
        return own is not None and int(own[1] or 0) <= _digits(target.type)
    return base in _BASES.get(family, frozenset())


def compares_exactly(column: Column, target: TargetColumn) -> bool:
    """Tell whether keys that differ at the source differ in this column: text that is compared by its bytes."""
    return not target.collation or target.collation.endswith("_bin") or target.collation == "binary"


def spelled(type_: str) -> str:
    """Return a type in one spelling: without the display widths of integers, and with fractions of zero left out."""
    text = type_.lower().strip()
    if re.match(r"(enum|set)\(", text):
        return type_.strip()
    text = re.sub(r"^(tinyint|smallint|mediumint|int|bigint|year)\(\d+\)", r"\1", text).replace(" zerofill", "")
    text = re.sub(r"^(datetime|timestamp|time)\(0\)", r"\1", text)
    return {"geomcollection": "geometrycollection", "json": "longtext"}.get(text, text)


def _decimal_holds(column: Column, target: TargetColumn) -> bool:
    room, scale = _arguments(target.type)
    family = column.type.family
    if family is Family.NUMERIC:
        return (room, scale) == (DECIMAL_DIGITS_MAX, DECIMAL_SCALE_MAX)
    if family is Family.DECIMAL:
        own_scale = max(column.type.scale or 0, 0)
        whole = (column.type.precision or 0) - (column.type.scale or 0)
        return scale >= own_scale and room - scale >= min(whole, DECIMAL_DIGITS_MAX - DECIMAL_SCALE_MAX)
    return family in _DIGITS and room - scale >= _DIGITS[family] and "unsigned" not in target.type


def _arguments(type_: str) -> tuple[int, int]:
    found = re.search(r"\((\d+)(?:,(\d+))?\)", type_)
    return (int(found[1]), int(found[2] or 0)) if found else (10, 0)


def _digits(type_: str) -> int:
    found = re.search(r"\((\d)\)", type_)
    return int(found[1]) if found else 0
