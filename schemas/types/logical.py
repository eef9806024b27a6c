"""Logical types: the closed list of families, and a type as a family with its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Family(StrEnum):
    """The families. The comment gives the canonical Python value."""

    BOOLEAN = "boolean"  # bool
    INT16 = "int16"  # int
    INT32 = "int32"  # int
    INT64 = "int64"  # int
    UINT32 = "uint32"  # int (PostgreSQL oid, MySQL int unsigned)
    UINT64 = "uint64"  # int
    FLOAT32 = "float32"  # float; NaN and the infinities included
    FLOAT64 = "float64"  # float; NaN and the infinities included
    DECIMAL = "decimal"  # int, unscaled by the type's scale; or None-like marker `NAN` (see numbers.py)
    NUMERIC = "numeric"  # decimal.Decimal of any scale; NaN and the infinities included
    STRING = "string"  # str
    BYTES = "bytes"  # bytes
    DATE = "date"  # int, days since 1970-01-01 (proleptic Gregorian); infinities are the int32 extremes
    TIME = "time"  # int, microseconds since midnight, 0 to 86400000000 inclusive
    TIMETZ = "timetz"  # str, ISO 8601 with its offset as given
    TIMESTAMP = "timestamp"  # int, microseconds since 1970-01-01 without a zone
    TIMESTAMPTZ = "timestamptz"  # int, microseconds since 1970-01-01 UTC
    INTERVAL = "interval"  # str, ISO 8601 with signed fields
    UUID = "uuid"  # str, lower case with hyphens
    JSON = "json"  # str, the text as it is
    XML = "xml"  # str
    ENUM = "enum"  # str
    TEXT = "text"  # str: any other type in its engine's own notation; the column's native name says which


@dataclass(frozen=True, slots=True)
class LogicalType:
    """A family with its parameters. `precision` and `scale` belong to DECIMAL; `length` is informative."""

    family: Family
    precision: int | None = None
    scale: int | None = None
    length: int | None = None

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form: the family's name and the parameters that are set."""
        document: dict[str, Any] = {"family": str(self.family)}
        for name in ("precision", "scale", "length"):
            value = getattr(self, name)
            if value is not None:
                document[name] = value
        return document

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> LogicalType:
        """Return the type that `to_document` wrote."""
        return cls(Family(document["family"]), document.get("precision"), document.get("scale"), document.get("length"))
