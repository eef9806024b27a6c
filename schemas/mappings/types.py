"""The data types of AWS DMS, by which rules name the type of a column at the target and mean columns of the source, in
ours and the engines' terms.

Source: AWS DMS user guide, "Data types for AWS Database Migration Service", and "Source data types for" PostgreSQL and
MySQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from schemas.errors import ErrorKind, TailraceError
from schemas.hints import suggestion
from schemas.mappings.names import concerns
from schemas.mappings.rules import DataType, TransformationRule
from schemas.table import Column, TableSchema
from schemas.types import Family, LogicalType


class Meaning(NamedTuple):
    """What a data type is here."""

    type: LogicalType
    native: dict[str, str]
    """How the engines write it, for a table of that engine."""


def _plain(family: Family, postgresql: str, mysql: str) -> Callable[[DataType], Meaning]:
    return lambda _: Meaning(LogicalType(family), {"postgresql": postgresql, "mysql": mysql})


def _text(wanted: DataType) -> Meaning:
    length = wanted.length
    if length is None:
        return Meaning(LogicalType(Family.STRING), {"postgresql": "text", "mysql": "longtext"})
    native = f"varchar({length})"
    return Meaning(
        LogicalType(Family.STRING, length=length), {"postgresql": f"character varying({length})", "mysql": native}
    )


def _bytes(wanted: DataType) -> Meaning:
    mysql = f"varbinary({wanted.length})" if wanted.length else "longblob"
    return Meaning(LogicalType(Family.BYTES), {"postgresql": "bytea", "mysql": mysql})


def _numeric(wanted: DataType) -> Meaning:
    if wanted.precision is None:
        return Meaning(LogicalType(Family.NUMERIC), {"postgresql": "numeric", "mysql": "decimal(65,30)"})
    scale = wanted.scale or 0
    if scale > wanted.precision:
        raise ValueError(f"a scale of {scale} is more than the precision of {wanted.precision}")
    native = f"({wanted.precision},{scale})"
    return Meaning(
        LogicalType(Family.DECIMAL, wanted.precision, scale),
        {"postgresql": f"numeric{native}", "mysql": f"decimal{native}"},
    )


_TYPES: dict[str, Callable[[DataType], Meaning]] = {
    "boolean": _plain(Family.BOOLEAN, "boolean", "tinyint(1)"),
    "bytes": _bytes,
    "blob": _bytes,
    "date": _plain(Family.DATE, "date", "date"),
    "time": _plain(Family.TIME, "time without time zone", "time(6)"),
    "datetime": _plain(Family.TIMESTAMP, "timestamp without time zone", "datetime(6)"),
    "int1": _plain(Family.INT16, "smallint", "tinyint"),
    "int2": _plain(Family.INT16, "smallint", "smallint"),
    "int4": _plain(Family.INT32, "integer", "int"),
    "int8": _plain(Family.INT64, "bigint", "bigint"),
    "uint1": _plain(Family.INT16, "smallint", "tinyint unsigned"),
    "uint2": _plain(Family.INT32, "integer", "smallint unsigned"),
    "uint4": _plain(Family.INT64, "bigint", "int unsigned"),
    "uint8": _plain(Family.UINT64, "numeric(20,0)", "bigint unsigned"),
    "numeric": _numeric,
    "real4": _plain(Family.FLOAT32, "real", "float"),
    "real8": _plain(Family.FLOAT64, "double precision", "double"),
    "string": _text,
    "wstring": _text,
    "clob": _text,
    "nclob": _text,
}


def meaning(rule_id: str, wanted: DataType) -> Meaning:
    """Return what a rule's data type is. Raises CONFIGURATION for an unknown one, with the nearest known."""
    if fault := unknown(wanted.type):
        raise TailraceError(ErrorKind.CONFIGURATION, f"rule {rule_id}: {fault}")
    try:
        return _TYPES[wanted.type.lower()](wanted)
    except ValueError as error:
        raise TailraceError(ErrorKind.CONFIGURATION, f"rule {rule_id}: data-type: {error}") from error


_SAME = {"wstring": "string", "nclob": "clob"}
"""Texts are Unicode here, and one type is as good as the other."""

_OF_FAMILY = {
    Family.BOOLEAN: "boolean",
    Family.INT16: "int2",
    Family.INT32: "int4",
    Family.INT64: "int8",
    Family.UINT32: "uint4",
    Family.UINT64: "uint8",
    Family.FLOAT32: "real4",
    Family.FLOAT64: "real8",
    Family.DECIMAL: "numeric",
    Family.NUMERIC: "numeric",
    Family.BYTES: "blob",
    Family.DATE: "date",
    Family.TIME: "time",
    Family.TIMESTAMP: "datetime",
    Family.TIMESTAMPTZ: "datetime",
    Family.JSON: "clob",
    Family.XML: "clob",
}
"""What DMS calls a source's type of a family. All others are `string`."""

_OF_NATIVE = {
    "postgresql": {
        "money": "numeric",
        **dict.fromkeys(("text", "tsvector", "tsquery", "path", "polygon", "hstore"), "clob"),
    },
    "mysql": {
        "tinyint": "int1",
        "smallint": "int2",
        "mediumint": "int4",
        "longtext": "clob",
        "mediumtext": "clob",
        "time": "string",
        **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "bit"), "bytes"),
    },
}
"""The engines' types for which that is another one."""

_WORD = re.compile(r"\w+")
_LONG = re.compile(r"numeric\((39|[4-9]\d|\d{3,}),")
"""Numbers of PostgreSQL of more digits than DMS's have are texts to it."""


def kind(column: Column, engine: str) -> str:
    """Return what DMS calls the type of a source's column; `string` and `clob` stand for `wstring` and `nclob`, too."""
    family = column.type.family
    found = _WORD.match(column.native)
    named = _OF_NATIVE.get(engine, {}).get(found[0], "") if found is not None and family is not Family.BOOLEAN else ""
    if column.native.endswith("[]"):
        return "clob"
    if engine == "postgresql" and _LONG.match(column.native):
        return "string"
    if named.startswith("int") and "unsigned" in column.native:
        return f"u{named}"
    return named or _OF_FAMILY.get(family, "string")


def means(rule: TransformationRule, table: TableSchema, column: Column) -> bool:
    """Tell whether a rule's locator means this column: by its name, and by its type where it says one."""
    wanted = rule.object_locator.data_type
    if not concerns(rule, table.name, column.name):
        return False
    return wanted is None or _SAME.get(wanted.lower(), wanted.lower()) == kind(column, table.engine)


def unknown(name: str) -> str:
    """Return what is to be said of the name of a data type; empty: it is known."""
    if name.lower() in _TYPES:
        return ""
    return f"data-type {name} is unknown; " + suggestion(name, _TYPES, f"known: {', '.join(_TYPES)}")
