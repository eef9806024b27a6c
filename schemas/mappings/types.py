"""The data types of AWS DMS, by which rules name the type of a column at the target, in ours and the engines' terms.

Source: AWS DMS user guide, "Data types for AWS Database Migration Service".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from schemas.errors import ErrorKind, TailraceError
from schemas.hints import nearest
from schemas.mappings.rules import DataType
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
    make = _TYPES.get(wanted.type.lower())
    if make is None:
        near = nearest(wanted.type, _TYPES)
        hint = f"did you mean {near}?" if near else f"known: {', '.join(_TYPES)}"
        raise TailraceError(ErrorKind.CONFIGURATION, f"rule {rule_id}: data-type {wanted.type} is unknown; {hint}")
    try:
        return make(wanted)
    except ValueError as error:
        raise TailraceError(ErrorKind.CONFIGURATION, f"rule {rule_id}: data-type: {error}") from error
