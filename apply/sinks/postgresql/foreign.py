"""Tables of other engines as PostgreSQL would have them: the types by their logical type, the rest as far as it goes.

Each choice keeps every value; what is lost is behaviour, and `losses` names it: labels that are no longer checked,
columns that the source computes, indexes that PostgreSQL has no like for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from apply.sinks.postgresql.ddl import shortened
from apply.sinks.postgresql.names import listed
from schemas.table import Column, Index, TableSchema
from schemas.types import Family

ENGINE = "postgresql"

TYPES: dict[Family, str] = {
    Family.BOOLEAN: "boolean",
    Family.INT16: "smallint",
    Family.INT32: "integer",
    Family.INT64: "bigint",
    Family.UINT32: "bigint",
    Family.UINT64: "numeric(20,0)",
    Family.FLOAT32: "real",
    Family.FLOAT64: "double precision",
    Family.NUMERIC: "numeric",
    Family.STRING: "text",
    Family.BYTES: "bytea",
    Family.DATE: "date",
    Family.TIME: "time without time zone",
    Family.TIMETZ: "time with time zone",
    Family.TIMESTAMP: "timestamp without time zone",
    Family.TIMESTAMPTZ: "timestamp with time zone",
    Family.INTERVAL: "interval",
    Family.UUID: "uuid",
    Family.JSON: "json",
    Family.XML: "xml",
    Family.ENUM: "text",
    Family.TEXT: "text",
}
"""The type of each family but DECIMAL, and STRING with a length."""

_OWN_NOTATION = {"bit": "bit({length})", "inet4": "inet", "inet6": "inet"}
"""Native types of family TEXT whose notation PostgreSQL reads as a type of its own."""

_IDENTITY_TYPES = ("smallint", "integer", "bigint")
_CONSTANT = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?|'(?:[^'\\]|'')*'")
_INDEX = re.compile(r"using btree \((.+)\)")
_PLAIN_PART = re.compile(r"`((?:[^`]|``)*)`")


def column_type(column: Column) -> str:
    """Return the PostgreSQL type that holds every value of a column of another engine."""
    kind = column.type
    if kind.family is Family.DECIMAL:
        return f"numeric({kind.precision},{kind.scale or 0})"
    if kind.family is Family.STRING and kind.length:
        return f"character varying({kind.length})"
    if kind.family is Family.TEXT:
        found = re.match(r"(\w+)(?:\((\d+)\))?", column.native)
        if found is not None and found[1] in _OWN_NOTATION:
            return _OWN_NOTATION[found[1]].format(length=found[2])
    return TYPES[kind.family]


def translated(table: TableSchema) -> TableSchema:
    """Return a table as PostgreSQL can have it; one of PostgreSQL's own as it is."""
    if table.engine == ENGINE:
        return table
    return replace(
        table,
        columns=tuple(_column(column) for column in table.columns),
        generated=(),
        indexes=tuple(_indexes(table)),
        user_types=(),
        engine=ENGINE,
    )


def losses(table: TableSchema) -> list[str]:
    """Return in words what a table of another engine is not any more at a PostgreSQL target."""
    if table.engine == ENGINE:
        return []
    found = []
    for column in table.columns:
        kind, name = column.type.family, column.name
        target = column_type(column)
        if kind in _NOTES:
            found.append(f"{name}: {column.native} becomes {target}; {_NOTES[kind]}")
        elif column.native.split("(")[0] == "set":
            found.append(f"{name}: {column.native} becomes {target}; labels joined by commas, not checked any more")
        elif kind is Family.BYTES and not re.match(r"\w*(binary|blob)", column.native):
            found.append(f"{name}: {column.native} becomes {target}; the bytes as the source stores them")
        if column.identity and target not in _IDENTITY_TYPES:
            found.append(f"{name}: {target} counts no identity; the target gives out no numbers")
        if column.default is not None and _default(column, target) is None:
            found.append(f"{name}: the default {column.default} is left out")
    computed = [g.name for g in table.generated if g.expression]
    found += [f"{name}: a virtual column has no values to carry, and is left out" for name in computed]
    kept = {index.name for index in table.indexes if _parts(index) is not None}
    found += [f"index {i.name}: left out ({i.definition})" for i in table.indexes if i.name not in kept]
    return found


_NOTES = {
    Family.ENUM: "labels are not checked any more, and sort as text",
    Family.UINT32: "wider, so that it holds all unsigned values",
    Family.UINT64: "wider, so that it holds all unsigned values",
    Family.INTERVAL: "a span of time, since it may be negative or longer than a day",
    Family.JSON: "the text as the source prints it",
}


def _column(column: Column) -> Column:
    type_ = column_type(column)
    return replace(
        column,
        native=type_,
        default=_default(column, type_),
        identity=column.identity if type_ in _IDENTITY_TYPES else "",
        collation=None,
    )


def _default(column: Column, target: str) -> str | None:
    """Return a default as PostgreSQL takes it: a constant, but for a boolean, which is a number at the source."""
    is_taken = column.default is not None and _CONSTANT.fullmatch(column.default) and target != "boolean"
    return column.default if is_taken else None


def _parts(index: Index) -> list[str] | None:
    """Return the columns of an index that is over whole columns and sorted, else None."""
    found = _INDEX.fullmatch(index.definition)
    if found is None:
        return None
    parts = found[1].split(", ")
    names = [_PLAIN_PART.fullmatch(part) for part in parts]
    return [name[1].replace("``", "`") for name in names if name is not None] if all(names) else None


def _indexes(table: TableSchema) -> Iterator[Index]:
    carried = set(table.column_names)
    for index in table.indexes:
        names = _parts(index)
        if names is not None and carried.issuperset(names):
            # Names of indexes are the schema's at PostgreSQL, and the table's elsewhere.
            name = shortened(f"{table.name.table}_{index.name}", "")
            yield replace(index, name=name, definition=f"using btree ({listed(names)})")
