"""A column of a row that Debezium wrote: its type with us, and the fragment that makes a value canonical.

One entry per semantic type of Debezium's and Kafka Connect's. A fragment finds the value in the variable `{v}`, parsed
from JSON or Avro and not None, and leaves the canonical one there. `octets` is bytes as the format has them: base64 in
JSON. Whatever a fragment raises means that the value is none of its type.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import orjson

from schemas.debezium.texts import (
    bits_text,
    duration_text,
    ewkb_text,
    iso_date,
    iso_time,
    iso_timestamp,
    list_text,
    numeric_of,
    point_text,
    stored_geometry,
)
from schemas.table import Column
from schemas.types import Family, LogicalType
from schemas.types.calendar import INFINITY_US, MINUS_INFINITY_US
from schemas.types.form import ConnectSchema
from schemas.types.forms import FORMS
from schemas.types.numbers import DECIMAL_NAME, NAN, VARIABLE_SCALE_NAME, from_scaled

PRECISION_MAX = 1000
"""Digits of a DECIMAL: PostgreSQL's most. A Decimal of Connect's that does not say its own becomes a NUMERIC."""

INT32_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Kind:
    """What a field of some semantic type is with us."""

    type: LogicalType
    native: str
    """As PostgreSQL spells it."""
    lines: tuple[str, ...]
    """The fragment."""


def kind_of(field: ConnectSchema, connector: str) -> Kind:
    """Return what a field is. Types that are not known by name count as what they are made of."""
    make = _NAMED.get(field.get("name") or "") or _PLAIN.get(field["type"]) or _other
    return make(field, connector)


def column_of(field: ConnectSchema, kind: Kind, connector: str, *, is_key: bool) -> Column:
    """Return the column of a table schema."""
    default = _default(field, kind, connector) if "default" in field else None
    return Column(
        str(field["field"]),
        kind.type,
        kind.native,
        nullable=bool(field.get("optional")) and not is_key,
        default=default,
    )


def _default(field: ConnectSchema, kind: Kind, connector: str) -> str | None:
    """Return a default as SQL writes it, where it is a plain constant."""
    value = field["default"]
    if field.get("name") and kind.type.family is not Family.ENUM:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str) and kind.type.family in (Family.STRING, Family.ENUM):
        if connector != "postgresql":
            # What stands between the quotes of the statement, doubled quotes and all.
            value = value.replace("''", "'")
        return "'" + value.replace("'", "''") + "'"
    return None


def _as_ours(family: Family, native: str, *first: str) -> Callable[[ConnectSchema, str], Kind]:
    """Return the maker of a type whose values, after `first`, are in our own JSON form."""
    kind = Kind(LogicalType(family), native, (*first, *FORMS[family].json_read("{v}")))
    return lambda _field, _connector: kind


def _made(family: Family, native: str, *lines: str) -> Callable[[ConnectSchema, str], Kind]:
    kind = Kind(LogicalType(family), native, lines)
    return lambda _field, _connector: kind


def _parameter(field: ConnectSchema, name: str) -> int | None:
    text = str((field.get("parameters") or {}).get(name, ""))
    return int(text) if text.isdigit() else None


def _decimal(field: ConnectSchema, _connector: str) -> Kind:
    scale = int((field.get("parameters") or {}).get("scale", 0))
    precision = _parameter(field, "connect.decimal.precision")
    # Connect's zero is one byte; no byte is how our own topics say NaN.
    unscaled = "{v} = octets({v}); {v} = int.from_bytes({v}, 'big', signed=True) if {v} else NAN"
    if precision is None or precision > PRECISION_MAX or not 0 <= scale <= precision:
        lines = (unscaled, f"{{v}} = from_scaled({{v}}, {scale}) if {{v}} is not NAN else Decimal('NaN')")
        return Kind(LogicalType(Family.NUMERIC), "numeric", lines)
    type_ = LogicalType(Family.DECIMAL, precision=precision, scale=scale)
    return Kind(type_, f"numeric({precision},{scale})", (unscaled,))


def _bits(field: ConnectSchema, _connector: str) -> Kind:
    length = _parameter(field, "length")
    fixed = length is not None and length < INT32_MAX
    native = f"bit({length})" if fixed else "bit varying"
    return Kind(LogicalType(Family.TEXT), native, (f"{{v}} = bits_text(octets({{v}}), {length if fixed else 0})",))


def _time(field: ConnectSchema, connector: str) -> Kind:
    """Return a time of day; of MySQL a span of time, which may be negative and longer than a day."""
    unit = _TIME_UNITS[str(field["name"]).rpartition(".")[2]]
    if connector == "postgresql":
        return Kind(LogicalType(Family.TIME), "time without time zone", (*unit, *FORMS[Family.TIME].json_read("{v}")))
    return Kind(LogicalType(Family.INTERVAL), "interval", (*unit, "{v} = duration_text({v})"))


def _point(_field: ConnectSchema, connector: str) -> Kind:
    if connector == "postgresql":
        return Kind(LogicalType(Family.TEXT), "point", ("{v} = point_text({v})",))
    return Kind(LogicalType(Family.BYTES), "bytea", ("{v} = stored_geometry({v}, octets)",))


def _geometry(native: str, _field: ConnectSchema, connector: str) -> Kind:
    if connector == "postgresql":
        return Kind(LogicalType(Family.TEXT), native, ("{v} = ewkb_text({v}, octets)",))
    return Kind(LogicalType(Family.BYTES), "bytea", ("{v} = stored_geometry({v}, octets)",))


def _array(field: ConnectSchema, connector: str) -> Kind:
    item = kind_of(field["items"], connector)
    if item.native.endswith("[]") or item.type.family is Family.JSON:
        return _other(field, connector)
    # Numbers may stand for a placeholder, too: then the row is looked at more closely.
    lines = ("if {v} in LISTS: wrong()", "{v} = list_text({v}, items)")
    return Kind(LogicalType(Family.TEXT), f"{item.native}[]", lines)


def _other(_field: ConnectSchema, _connector: str) -> Kind:
    """Return what everything else becomes: its JSON text."""
    return Kind(LogicalType(Family.JSON), "json", ("{v} = dumps({v}).decode()",))


_TIMESTAMP = "timestamp without time zone"
_MICROS_OF_NANOS = ("{v}, x = divmod({v}, 1000)", "if x: wrong()")
_MICROS = ("if {v} in ENDS: {v} = ENDS[{v}]",)
_DAYS = ("if {v} in END_DAYS: {v} = END_DAYS[{v}]",)
_TIME_UNITS: dict[str, tuple[str, ...]] = {
    "Time": ("{v} *= 1000",),
    "MicroTime": (),
    "NanoTime": _MICROS_OF_NANOS,
}
"""What makes microseconds of a time of day, by the last part of its type's name."""

_NAMED: dict[str, Callable[[ConnectSchema, str], Kind]] = {
    DECIMAL_NAME: _decimal,
    VARIABLE_SCALE_NAME: _made(
        Family.NUMERIC,
        "numeric",
        "{v} = variable_of({v}, octets)",
    ),
    "org.apache.kafka.connect.data.Date": _as_ours(Family.DATE, "date", *_DAYS),
    "org.apache.kafka.connect.data.Time": _time,
    "org.apache.kafka.connect.data.Timestamp": _as_ours(Family.TIMESTAMP, _TIMESTAMP, "{v} *= 1000"),
    "io.debezium.time.Date": _as_ours(Family.DATE, "date", *_DAYS),
    "io.debezium.time.Time": _time,
    "io.debezium.time.MicroTime": _time,
    "io.debezium.time.NanoTime": _time,
    "io.debezium.time.Timestamp": _as_ours(Family.TIMESTAMP, _TIMESTAMP, "{v} *= 1000"),
    "io.debezium.time.MicroTimestamp": _as_ours(Family.TIMESTAMP, _TIMESTAMP, *_MICROS),
    "io.debezium.time.NanoTimestamp": _as_ours(Family.TIMESTAMP, _TIMESTAMP, *_MICROS_OF_NANOS),
    "io.debezium.time.ZonedTimestamp": _as_ours(Family.TIMESTAMPTZ, "timestamp with time zone"),
    "io.debezium.time.ZonedTime": _as_ours(Family.TIMETZ, "time with time zone"),
    "io.debezium.time.IsoDate": _made(Family.DATE, "date", "{v} = iso_date({v})"),
    "io.debezium.time.IsoTime": _made(Family.TIME, "time without time zone", "{v} = iso_time({v})"),
    "io.debezium.time.IsoTimestamp": _made(Family.TIMESTAMP, _TIMESTAMP, "{v} = iso_timestamp({v})"),
    "io.debezium.time.Interval": _as_ours(Family.INTERVAL, "interval"),
    "io.debezium.time.MicroDuration": _made(Family.INTERVAL, "interval", "{v} = duration_text({v})"),
    "io.debezium.time.NanoDuration": _made(Family.INTERVAL, "interval", *_MICROS_OF_NANOS, "{v} = duration_text({v})"),
    "io.debezium.time.Year": _as_ours(Family.INT32, "integer"),
    "io.debezium.data.Bits": _bits,
    "io.debezium.data.Json": _as_ours(Family.JSON, "json"),
    "io.debezium.data.Xml": _as_ours(Family.XML, "xml"),
    "io.debezium.data.Uuid": _as_ours(Family.UUID, "uuid"),
    "io.debezium.data.Enum": _as_ours(Family.ENUM, "text"),
    "io.debezium.data.geometry.Point": _point,
    "io.debezium.data.geometry.Geometry": partial(_geometry, "geometry"),
    "io.debezium.data.geometry.Geography": partial(_geometry, "geography"),
    "io.debezium.data.FloatVector": _made(Family.TEXT, "vector", "{v} = dumps({v}).decode()"),
    "io.debezium.data.DoubleVector": _made(Family.TEXT, "vector", "{v} = dumps({v}).decode()"),
    # Ours, for plain JSON whose types are stated (`schemas.debezium.stated`).
    "tailrace.NumericText": _made(Family.NUMERIC, "numeric", "{v} = Decimal(str({v}))"),
    "tailrace.Base64Url": _made(Family.BYTES, "bytea", "{v} = urlsafe_b64decode({v})"),
    "tailrace.Hexadecimal": _made(Family.BYTES, "bytea", "{v} = bytes.fromhex({v})"),
}
"""By the schema's name."""

_PLAIN: dict[str, Callable[[ConnectSchema, str], Kind]] = {
    "boolean": _as_ours(Family.BOOLEAN, "boolean"),
    "int8": _as_ours(Family.INT16, "smallint"),
    "int16": _as_ours(Family.INT16, "smallint"),
    "int32": _as_ours(Family.INT32, "integer"),
    "int64": _as_ours(Family.INT64, "bigint"),
    "float": _as_ours(Family.FLOAT32, "real"),
    "double": _as_ours(Family.FLOAT64, "double precision"),
    "string": _as_ours(Family.STRING, "text"),
    "bytes": _made(Family.BYTES, "bytea", "{v} = octets({v})"),
    "array": _array,
}
"""By the type that Connect has."""

ENDS = {2**63 - 1: INFINITY_US, -(2**63): MINUS_INFINITY_US}
"""What Debezium 3 writes for a timestamp that is infinite, in microseconds."""

END_DAYS = {-622_191_234: INT32_MAX, -625_821_272: -INT32_MAX - 1}
"""What Debezium 3 writes for a date that is infinite: days that overflowed, of no year that a database has."""

NAMES: dict[str, Any] = {
    "ENDS": ENDS,
    "END_DAYS": END_DAYS,
    "Decimal": Decimal,
    "bits_text": bits_text,
    "dumps": orjson.dumps,
    "duration_text": duration_text,
    "ewkb_text": ewkb_text,
    "from_scaled": from_scaled,
    "iso_date": iso_date,
    "iso_time": iso_time,
    "iso_timestamp": iso_timestamp,
    "list_text": list_text,
    "NAN": NAN,
    "variable_of": numeric_of,
    "point_text": point_text,
    "stored_geometry": stored_geometry,
    "urlsafe_b64decode": urlsafe_b64decode,
}
"""What fragments call, besides the names of our own forms."""
