"""Whether a column that the target has can hold every value of a source's column, without loss.

A narrower column is refused when the table is prepared, not when the first large value arrives: PostgreSQL would round
a numeric or a timestamp without a word.
"""

from __future__ import annotations

import re

from apply.sinks.postgresql.catalog import TargetColumn
from schemas.table import Column
from schemas.types import Family

_BASES: dict[Family, frozenset[str]] = {
    Family.BOOLEAN: frozenset({"bool"}),
    Family.INT16: frozenset({"int2", "int4", "int8", "float4", "float8"}),
    Family.INT32: frozenset({"int4", "int8", "float8"}),
    Family.INT64: frozenset({"int8"}),
    Family.UINT32: frozenset({"oid", "int8"}),
    Family.FLOAT32: frozenset({"float4", "float8"}),
    Family.FLOAT64: frozenset({"float8"}),
    Family.BYTES: frozenset({"bytea"}),
    Family.DATE: frozenset({"date", "timestamp"}),
    Family.TIME: frozenset({"time"}),
    Family.TIMETZ: frozenset({"timetz"}),
    Family.TIMESTAMP: frozenset({"timestamp"}),
    Family.TIMESTAMPTZ: frozenset({"timestamptz"}),
    Family.INTERVAL: frozenset({"interval"}),
    Family.UUID: frozenset({"uuid"}),
    Family.JSON: frozenset({"json", "jsonb"}),
    Family.XML: frozenset({"xml"}),
    Family.ENUM: frozenset({"enum"}),
}
_INTEGER_DIGITS = {
    Family.INT16: 5,
    Family.INT32: 10,
    Family.INT64: 19,
    Family.UINT32: 10,
    Family.UINT64: 20,
}
SECOND_DIGITS_MAX = 6
"""Decimals of a second in PostgreSQL, also where a type does not say how many."""
_WITH_PRECISION = {Family.TIME, Family.TIMETZ, Family.TIMESTAMP, Family.TIMESTAMPTZ, Family.INTERVAL}


def holds(column: Column, native: str, target: TargetColumn) -> bool:
    """Tell whether `target` takes every value of `column`, whose type the target calls `native`."""
    if _spelled(native) == _spelled(target.type):
        return True
    base, modifiers = target.base, _modifiers(target.type)
    family = column.type.family
    if base in {"text", "citext"} or (base == "varchar" and not modifiers):
        return True
    if base in {"varchar", "bpchar"}:
        own = _modifiers(native)
        return family is Family.STRING and bool(own) and own[0] <= (modifiers or [1])[0]
    if base == "numeric":
        return _numeric_holds(column, modifiers)
    if family in _WITH_PRECISION and modifiers:
        own = _modifiers(native) or [SECOND_DIGITS_MAX]
        return base in _BASES[family] and own[0] <= modifiers[0]
    if family in _BASES:
        return base in _BASES[family]
    # Any other type is the same type, perhaps spelled with another schema: an extension's may differ.
    return _spelled(native).rpartition(".")[2] == _spelled(target.type).rpartition(".")[2]


def type_holds(native: str, found: str) -> bool:
    """Tell whether a type, named as `format_type` does, takes every value of another one: where no column says more."""
    own, has = _spelled(native), _spelled(found)
    if own == has or has in {"text", "character varying"}:
        return True
    (base, narrow), (has_base, has_narrow) = ((re.sub(r"\([^)]*\)", "", name), _modifiers(name)) for name in (own, has))
    if base.rpartition(".")[2] != has_base.rpartition(".")[2] or base in {"character", "bit"}:
        # Those are padded to their length. The schema of an extension's type may be another one.
        return False
    if base == "numeric" and narrow and has_narrow:
        (precision, scale), (room, fraction) = ([*some, 0][:2] for some in (narrow, has_narrow))
        return fraction >= scale and room - fraction >= precision - scale
    return not has_narrow or (bool(narrow) and narrow[0] <= has_narrow[0])


def _numeric_holds(column: Column, modifiers: list[int]) -> bool:
    family = column.type.family
    if family is Family.NUMERIC:
        return not modifiers
    if family is Family.DECIMAL:
        precision, scale = column.type.precision or 1000, column.type.scale or 0
    elif family in _INTEGER_DIGITS:
        precision, scale = _INTEGER_DIGITS[family], 0
    else:
        return False
    if not modifiers:
        return True
    room, fraction = modifiers[0], modifiers[1] if len(modifiers) > 1 else 0
    return fraction >= scale and room - fraction >= precision - scale


def _modifiers(type_: str) -> list[int]:
    found = re.search(r"\(([-\d, ]+)\)", type_)
    return [int(number) for number in found[1].split(",")] if found else []


_ALIASES = {
    "int2": "smallint",
    "int4": "integer",
    "int": "integer",
    "int8": "bigint",
    "float4": "real",
    "float8": "double precision",
    "bool": "boolean",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "time": "time without time zone",
    "timetz": "time with time zone",
    "varchar": "character varying",
    "char": "character",
    "bpchar": "character",
    "decimal": "numeric",
    "varbit": "bit varying",
}


def _spelled(type_: str) -> str:
    """Return a type's name in one spelling: without blanks, quotes, pg_catalog and aliases."""
    text = type_.replace("pg_catalog.", "").replace(", ", ",").strip()
    if text == '"char"':
        return text
    match = re.fullmatch(r"([^(\[]+?) ?(\([^)]*\))?( with(?:out)? time zone)?((?:\[\])*)", text)
    if match is None:
        return text.replace('"', "")
    name, modifiers, zone, dimensions = (part or "" for part in match.groups())
    if zone:
        name += zone
    name = _ALIASES.get(name, name)
    return name.replace('"', "") + modifiers + dimensions
