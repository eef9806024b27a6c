"""Values of properties with their types, and templates that make texts of rows.

Neptune has no decimals: without a type of the mapping's what no number of Gremlin holds is its exact text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from apply.sinks.neptune.gremlin import Typed
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.graph_mapping import parts
from schemas.hints import suggestion
from schemas.table import TableSchema
from schemas.types import Family, LogicalType
from schemas.types.calendar import zoned_text
from schemas.types.plain import plain

US_PER_DAY = 86_400_000_000
FIRST_US, LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 to 9999."""

_WHOLE = {"byte": 7, "short": 15, "int": 31, "long": 63}
"""Bits of the largest number."""
_TRUTH = {"true": "true", "t": "true", "1": "true", "false": "false", "f": "false", "0": "false"}
_NATURAL = {
    Family.BOOLEAN: "Bool",
    Family.INT16: "Int",
    Family.INT32: "Int",
    Family.INT64: "Long",
    Family.UINT32: "Long",
    Family.FLOAT32: "Double",
    Family.FLOAT64: "Double",
}
_WANTED = {
    "bool": "Bool",
    "byte": "Int",
    "short": "Int",
    "int": "Int",
    "long": "Long",
    "float": "Double",
    "double": "Double",
    "string": "String",
    "date": "Date",
}
"""What values of a mapping's types are written as."""

Make = Callable[[Any], Typed]
"""From a canonical value, not None, to what is written of it. Raises ValueError for what there is nothing for."""

Part = tuple[int, Callable[[Any], str]]
"""A column, and what makes text of its values."""


def kind_of(type_: LogicalType) -> str:
    """Return the type of the property that a column is without a mapping."""
    return _NATURAL.get(type_.family, "String")


def kind_wanted(wanted: str) -> str:
    """Return the type of the property that a mapping wants to be `wanted`."""
    return _WANTED[wanted]


def natural(type_: LogicalType) -> Make:
    """Return what says a value exactly: as a number, truth, or text."""
    kind, form = kind_of(type_), plain(type_)
    if kind == "Bool":
        return lambda value: Typed(kind, "true" if value else "false")
    if kind == "Double":
        return lambda value: Typed(kind, repr(value)) if math.isfinite(value) else Typed("String", str(form(value)))
    return lambda value: Typed(kind, str(form(value)))


def of_column(type_: LogicalType, wanted: str) -> Make:
    """Return what makes values of the type that a mapping wants. Raises ValueError for a type that fits no value."""
    if wanted != "date":
        say = _said(type_)
        return lambda value: of_text(say(value), wanted)
    if type_.family is Family.DATE:
        return lambda days: _date(days * US_PER_DAY)
    if type_.family in (Family.TIMESTAMP, Family.TIMESTAMPTZ):
        return _date
    raise ValueError("a property of the type Date is made of one column of dates or times")


def of_text(text: str, wanted: str) -> Typed:
    """Return a text as a value of a type. Raises ValueError for what is none of it."""
    kind = _WANTED[wanted]
    if wanted == "string":
        return Typed(kind, text)
    if wanted == "bool" and text.lower() in _TRUTH:
        return Typed(kind, _TRUTH[text.lower()])
    if bits := _WHOLE.get(wanted):
        number = int(text)
        if not -1 << bits <= number < 1 << bits:
            raise ValueError(f"a number is no {wanted}")
        return Typed(kind, str(number))
    if kind == "Double":
        found = float(text)
        return Typed(kind, repr(found)) if math.isfinite(found) else Typed("String", text)
    raise ValueError(f"a text of {len(text)} characters is no {wanted}")


class Template:
    """Makes a text of a row's columns."""

    def __init__(self, made_of: Sequence[str | Part]) -> None:
        self._parts = made_of
        self.columns = frozenset(part[0] for part in made_of if not isinstance(part, str))
        self.single = made_of[0][0] if len(made_of) == 1 and not isinstance(made_of[0], str) else None
        """The column that it is, if it is nothing else."""

    @classmethod
    def parsed(cls, table: TableSchema, template: str) -> Template:
        """Return a mapping's. Raises TARGET_SCHEMA for a column that is not there."""
        return cls([_part(table, _place(table, part)) if is_column else part for is_column, part in parts(template)])

    @classmethod
    def column(cls, table: TableSchema, place: int) -> Template:
        """Return a column's text."""
        return cls([_part(table, place)])

    def of_row(self, row: Row) -> Any:
        """Return the text; None where a column is null, UNCHANGED where one is not known."""
        values = [row[i] for i in self.columns]
        if any(value is UNCHANGED for value in values):
            return UNCHANGED
        if any(value is None for value in values):
            return None
        return "".join(part if isinstance(part, str) else part[1](row[part[0]]) for part in self._parts)


def _part(table: TableSchema, place: int) -> Part:
    return place, _said(table.columns[place].type)


def _said(type_: LogicalType) -> Callable[[Any], str]:
    form = plain(type_)
    if type_.family is Family.BOOLEAN:
        return lambda value: "true" if value else "false"
    return lambda value: str(form(value))


def _place(table: TableSchema, name: str) -> int:
    names = table.column_names
    if name in names:
        return names.index(name)
    alike = [place for place, each in enumerate(names) if each.lower() == name.lower()]
    if len(alike) == 1:
        return alike[0]
    raise TailraceError(
        ErrorKind.TARGET_SCHEMA,
        f"the graph mapping names the column {name}, which is not there",
        table=str(table.name),
        remedy=suggestion(name, names, "change `graph_mapping` of the target"),
    )


def _date(us: int) -> Typed:
    if not FIRST_US <= us <= LAST_US:
        raise ValueError("a time is not of the years 1 to 9999")
    # Neptune's dates count milliseconds.
    return Typed("Date", f"{zoned_text(us - us % 1000)[:23]}Z")
