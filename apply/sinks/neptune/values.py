"""Values as literals of properties, and templates that make texts of rows.

Neptune has no decimals: without a type of the mapping's what no number of Gremlin holds is its exact text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from apply.sinks.neptune import gremlin
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.graph_mapping import parts
from schemas.hints import nearest
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
_INT = (Family.INT16, Family.INT32)
_LONG = (Family.INT64, Family.UINT32)

Literal = Callable[[Any], str]
"""From a canonical value, not None, to its literal. Raises ValueError for what it has none for."""

Part = tuple[int, Callable[[Any], str]]
"""A column, and what makes text of its values."""


def natural(type_: LogicalType) -> Literal:
    """Return what makes literals that say a value exactly: numbers, truth, or text."""
    family = type_.family
    if family is Family.BOOLEAN:
        return lambda value: "true" if value else "false"
    if family in _INT:
        return str
    if family in _LONG:
        return gremlin.long
    form = plain(type_)
    if family in (Family.FLOAT32, Family.FLOAT64):
        return lambda value: _double(value) if math.isfinite(value) else gremlin.text(str(form(value)))
    return lambda value: gremlin.text(form(value))


def of_column(type_: LogicalType, wanted: str) -> Literal:
    """Return what makes literals of the type that a mapping wants. Raises ValueError for a type that fits no value."""
    if wanted != "date":
        say = _said(type_)
        return lambda value: of_text(say(value), wanted)
    if type_.family is Family.DATE:
        return lambda days: _date(days * US_PER_DAY)
    if type_.family in (Family.TIMESTAMP, Family.TIMESTAMPTZ):
        return _date
    raise ValueError("a property of the type Date is made of one column of dates or times")


def of_text(text: str, wanted: str) -> str:
    """Return a text as a literal of a type. Raises ValueError for what is none of it."""
    if wanted == "string":
        return gremlin.text(text)
    if wanted == "bool" and text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    if bits := _WHOLE.get(wanted):
        number = int(text)
        if not -1 << bits <= number < 1 << bits:
            raise ValueError(f"a number is no {wanted}")
        return gremlin.long(number) if wanted == "long" else str(number)
    if wanted in ("float", "double"):
        found = float(text)
        if not math.isfinite(found):
            return gremlin.text(text)
        return _double(found)
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
    near = nearest(name, names)
    raise TailraceError(
        ErrorKind.TARGET_SCHEMA,
        f"the graph mapping names the column {name}, which is not there",
        table=str(table.name),
        remedy=f"did you mean {near}?" if near else "change `graph_mapping` of the target",
    )


def _double(value: float) -> str:
    return f"{value!r}d"


def _date(us: int) -> str:
    if not FIRST_US <= us <= LAST_US:
        raise ValueError("a time is not of the years 1 to 9999")
    # Neptune's dates count milliseconds.
    return f"datetime('{zoned_text(us - us % 1000)[:23]}Z')"
