"""Plain JSON says nothing of its types: they are stated in the configuration, or inferred from values.

A stated type becomes the schema that Debezium would have sent with it, under the modes that the connector was given.
Inferred are only types that values show by themselves: booleans, whole numbers, floats, text, objects and lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import ErrorKind, TailraceError
from schemas.types.form import ConnectSchema
from schemas.types.numbers import DECIMAL_NAME, VARIABLE_SCALE_NAME

PRECISION_UNKNOWN = 10_000
"""More digits than a column can be declared with: such a Decimal of Connect's becomes a numeric without limits."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What the configuration says of plain JSON."""

    types: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By table, the type of each column that is stated, in PostgreSQL's words."""
    times: str = "adaptive"
    """Debezium's `time.precision.mode`."""
    decimals: str = "precise"
    """Debezium's `decimal.handling.mode`."""
    binary: str = "bytes"
    """Debezium's `binary.handling.mode`."""


def fields_of(table: str, rows: Iterable[Mapping[str, Any]], stated: Stated) -> tuple[ConnectSchema, ...]:
    """Return the schemas of a table's columns, from what is stated and from `rows`, which have all columns.

    Raises CONFIGURATION that names the columns whose type neither tells.
    """
    of_table = stated.types.get(table, {})
    found: dict[str, ConnectSchema | None] = {}
    for row in rows:
        for name, value in row.items():
            if name in of_table:
                found.setdefault(name, stated_type(of_table[name], stated))
            elif found.get(name) is None or found[name] == {"type": "int64"}:
                # A float that happens to be whole is written as one, but other writers may differ.
                found[name] = _inferred(value) or found.get(name)
    unknown = sorted(name for name, schema in found.items() if schema is None)
    if unknown:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"plain JSON does not tell the type of {', '.join(unknown)}: no value has come yet",
            table=table,
            remedy="state the types of such columns under `source.types`",
        )
    return tuple({**schema, "optional": True, "field": name} for name, schema in found.items() if schema is not None)


def _inferred(value: Any) -> ConnectSchema | None:
    if value is None:
        return None
    if isinstance(value, dict):
        return {"type": "map"}
    if isinstance(value, list):
        # Debezium writes arrays of one type; which one only a type that is stated can say.
        return {"type": "map"}
    return {"type": {bool: "boolean", int: "int64", float: "double"}.get(type(value), "string")}


def stated_type(text: str, stated: Stated) -> ConnectSchema:
    """Return the schema that Debezium has for a column of a type. Raises CONFIGURATION for one that is not known."""
    match = re.fullmatch(r"([a-z ]+?)\s*(?:\((\d+)(?:,\s*(\d+))?\))?( with(?:out)? time zone)?(\[\])?", text.lower())
    if match is None:
        raise _unknown(text)
    word, first, second, zone, is_array = match.groups()
    schema = _scalar(word + (zone or ""), int(first) if first else None, int(second or 0), stated)
    if schema is None:
        raise _unknown(text)
    return {"type": "array", "items": schema} if is_array else schema


def _scalar(word: str, precision: int | None, scale: int, stated: Stated) -> ConnectSchema | None:
    if word in _PLAIN:
        return dict(_PLAIN[word])
    if word in ("numeric", "decimal"):
        return _decimal(precision, scale, stated.decimals)
    if word == "bit" and precision == 1:
        return {"type": "boolean"}
    if word in ("bit", "bit varying"):
        return {"type": "bytes", "name": "io.debezium.data.Bits", "parameters": {"length": str(precision or 1)}}
    if word == "money":
        # Its precision is the server's own.
        return _decimal(PRECISION_UNKNOWN, 2, stated.decimals)
    if word == "bytea":
        return _BINARY[stated.binary]
    if word in ("date", "time", "time without time zone", "timestamp", "timestamp without time zone"):
        return _time(word.split(maxsplit=1)[0], 6 if precision is None else precision, stated.times)
    if word == "datetime":
        # MySQL's, which has whole seconds where nothing else is said.
        return _time("timestamp", precision or 0, stated.times)
    return None


def _decimal(precision: int | None, scale: int, mode: str) -> ConnectSchema:
    if mode != "precise":
        return {"type": "string", "name": "tailrace.NumericText"}
    if precision is None:
        return {"type": "struct", "name": VARIABLE_SCALE_NAME}
    parameters = {"scale": str(scale), "connect.decimal.precision": str(precision)}
    return {"type": "bytes", "name": DECIMAL_NAME, "parameters": parameters}


def _time(word: str, precision: int, mode: str) -> ConnectSchema:
    if word == "date":
        name = {"connect": "org.apache.kafka.connect.data.Date", "isostring": "io.debezium.time.IsoDate"}
        return {"type": "int32", "name": name.get(mode, "io.debezium.time.Date")}
    base = {"time": "Time", "timestamp": "Timestamp"}[word]
    if mode == "connect":
        return {"type": "int64", "name": f"org.apache.kafka.connect.data.{base}"}
    if mode == "adaptive":
        unit = "" if precision <= 3 else "Micro"
    elif mode == "adaptive_time_microseconds":
        unit = "" if precision <= 3 and word == "timestamp" else "Micro"
    else:
        unit = {"isostring": "Iso", "microseconds": "Micro", "nanoseconds": "Nano"}[mode]
    return {"type": "int64", "name": f"io.debezium.time.{unit}{base}"}


def _named(name: str) -> ConnectSchema:
    return {"type": "string", "name": name}


_WORDS: dict[tuple[str, ...], ConnectSchema] = {
    ("boolean", "bool"): {"type": "boolean"},
    ("smallint", "int2"): {"type": "int16"},
    ("integer", "int", "int4"): {"type": "int32"},
    ("bigint", "int8", "oid"): {"type": "int64"},
    ("real", "float4"): {"type": "float"},
    ("double precision", "float8"): {"type": "double"},
    ("text", "varchar", "character varying", "char", "character", "citext"): {"type": "string"},
    ("timestamptz", "timestamp with time zone"): _named("io.debezium.time.ZonedTimestamp"),
    ("timetz", "time with time zone"): _named("io.debezium.time.ZonedTime"),
    ("json", "jsonb"): _named("io.debezium.data.Json"),
    ("xml",): _named("io.debezium.data.Xml"),
    ("uuid",): _named("io.debezium.data.Uuid"),
    ("enum",): _named("io.debezium.data.Enum"),
    ("point",): {"type": "struct", "name": "io.debezium.data.geometry.Point"},
    ("geometry",): {"type": "struct", "name": "io.debezium.data.geometry.Geometry"},
    ("geography",): {"type": "struct", "name": "io.debezium.data.geometry.Geography"},
    ("vector",): {"type": "array", "name": "io.debezium.data.FloatVector"},
    ("interval",): {"type": "int64", "name": "io.debezium.time.MicroDuration"},
}

_PLAIN: dict[str, ConnectSchema] = {word: schema for words, schema in _WORDS.items() for word in words}

_BINARY: dict[str, ConnectSchema] = {
    "bytes": {"type": "bytes"},
    "base64": {"type": "bytes"},
    "base64-url-safe": {"type": "string", "name": "tailrace.Base64Url"},
    "hex": {"type": "string", "name": "tailrace.Hexadecimal"},
}


def _unknown(text: str) -> TailraceError:
    known = ", ".join(sorted({*_PLAIN, "numeric(p,s)", "bytea", "date", "datetime(p)", "time(p)", "timestamp(p)"}))
    return TailraceError(
        ErrorKind.CONFIGURATION, f"source.types: {text!r} is no type that can be stated; known: {known}, and arrays"
    )
