"""Segments of tables at MySQL and MariaDB: which partitions there are, and which rows are between boundaries."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from capture.sources.mysql import queries
from capture.sources.mysql.catalog import quoted
from capture.sources.mysql.connection import Cells, Connection
from capture.sources.mysql.filters import literal_of
from capture.sources.mysql.quoting import identifier, literal
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.segments import Partition, Segment, columns_of
from schemas.table import Column, TableSchema
from schemas.types import Family


def partitions(connection: Connection, table: TableSchema) -> list[Partition]:
    """Return the partitions of a table, and the subpartitions of each behind it, in their order."""
    rows = connection.rows(
        queries.PARTITIONS.format(schema=literal(table.name.schema), table=literal(table.name.table))
    )
    parts: dict[str, list[str]] = {}
    for row in rows:
        parts.setdefault(str(row[0]), []).extend([str(row[1])] if row[1] is not None else [])
    tops = {str(row[0]): row for row in rows}
    identities = _identities(list(tops.values()))
    found = []
    for name, identity in zip(tops, identities, strict=True):
        found.append(Partition(name, identity=identity))
        found += [
            Partition(part, name, _digest(identity, *map(str, tops[name][3:6:2]), place, len(parts[name])))
            for place, part in enumerate(parts[name])
        ]
    return found


def check(connection: Connection, table: TableSchema, segments: Iterable[Segment | None]) -> None:
    """Raise SOURCE_SCHEMA if the partition of some segment is gone, or takes other rows.

    Within a transaction that has touched the table its partitions stay what they are from then on.
    """
    wanted = {s.partition: s.identity for s in segments if s is not None and s.partition}
    present = {p.name: p.identity for p in partitions(connection, table)} if wanted else {}
    for name, identity in wanted.items():
        if present.get(name) != identity:
            raise TailraceError(ErrorKind.SOURCE_SCHEMA, f"the partition {name} no longer holds the rows that it did")


def relation(table: TableSchema, segment: Segment | None) -> str:
    """Return what a segment is read from."""
    if segment is None or not segment.partition:
        return quoted(table.name)
    return f"{quoted(table.name)} partition ({identifier(segment.partition)})"


def conditions(table: TableSchema, segment: Segment | None) -> list[str]:
    """Return what holds for a segment's rows: they are between its boundaries."""
    if segment is None or not segment.columns:
        return []
    columns = columns_of(table, segment)

    def pairs(boundary: tuple[str, ...]) -> list[tuple[str, str]]:
        return [(identifier(c.name), _literal(c, text)) for c, text in zip(columns, boundary, strict=True)]

    found = [compared(pairs(boundary), ">", ">=") for boundary in segment.above]
    if segment.below is not None:
        below = compared(pairs(segment.below), "<", "<")
        found.append(f"coalesce({below}, true)" if any(c.nullable for c in columns) else below)
    return found


def compared(pairs: Sequence[tuple[str, str]], operator: str, last: str) -> str:
    """Compare several columns with values, spelt out: servers do not use an index for `(a, b) > (1, 2)`.

    `operator` is `<` or `>`, and `last` that of the last column.
    """
    if len(pairs) == 1:
        return f"{pairs[0][0]} {last} {pairs[0][1]}"
    cases = []
    for i, (name, value) in enumerate(pairs):
        equal = [f"{n} = {v}" for n, v in pairs[:i]]
        cases.append(" and ".join([*equal, f"{name} {last if i == len(pairs) - 1 else operator} {value}"]))
    name, value = pairs[0]
    return f"{name} {operator}= {value} and (" + " or ".join(f"({case})" for case in cases) + ")"


def _literal(column: Column, text: str) -> str:
    """Return a value as the column is compared with it: texts by its own collation, so that its index serves."""
    if column.type.family in (Family.STRING, Family.ENUM, Family.UUID):
        return literal(text)
    found = literal_of(column, text)
    if found is None:
        raise TailraceError(ErrorKind.CONFIGURATION, f"a boundary of {column.name} is no value that servers have")
    return found


def _identities(rows: list[Cells]) -> list[str]:
    """Return for each partition what says which rows belong to it.

    A range begins where the one before ends. Which rows a hash gives to a partition depends on how many there are, and
    what a default list takes on all others.
    """
    found = []
    methods = Counter(str(row[2]) for row in rows)
    for place, row in enumerate(rows):
        method, expression, description = str(row[2]), str(row[4]), str(row[6])
        if method.startswith("RANGE"):
            others = str(rows[place - 1][6]) if place else ""
        elif method.startswith("LIST"):
            others = "|".join(str(r[6]) for r in rows) if description == "DEFAULT" else ""
        else:
            others = f"{place} of {methods[method]}"
        found.append(_digest(method, expression, description, others))
    return found


def _digest(*said: object) -> str:
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]
