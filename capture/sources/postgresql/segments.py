"""Segments of tables at PostgreSQL: which partitions there are, and which rows are between boundaries."""

from __future__ import annotations

from typing import Any

from capture.sources.postgresql import queries
from capture.sources.postgresql.connection import classified, identifier
from capture.sources.postgresql.filters import literal_of
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.segments import Partition, Segment, columns_of
from schemas.table import TableName, TableSchema


def partitions(connection: Any, table: TableSchema, user: str) -> list[Partition]:
    """Return the partitions of a table, by name: with another name where they are in another schema."""
    found = []
    role = identifier(user)
    for oid, name, parent, readable, is_hidden in _rows(connection, table):
        lacks = []
        if not readable:
            lacks += [f"grant usage on schema {identifier(name.schema)} to {role};"]
            lacks += [f"grant select on {_quoted(name)} to {role};"]
        if is_hidden:
            lacks.append(f"alter role {role} bypassrls;")
        above = "" if parent == table.name else _said(parent, table)
        found.append(Partition(_said(name, table), above, str(oid), " ".join(lacks)))
    return found


def relation(connection: Any, table: TableSchema, segment: Segment) -> str:
    """Return the name of a segment's partition now, for statements. Raises SOURCE_SCHEMA if the table has it no more.

    The table must be locked: partitions are with it.
    """
    place = {"oid": segment.identity, "schema": table.name.schema, "table": table.name.table}
    with classified("looking for a partition", table=str(table.name)):
        found = connection.execute(queries.PARTITION, place).fetchone()
    if found is not None:
        return _quoted(TableName(*found))
    raise TailraceError(
        ErrorKind.SOURCE_SCHEMA,
        f"the partition {segment.partition} is no longer part of the table",
        table=str(table.name),
    )


def conditions(table: TableSchema, segment: Segment | None) -> list[str]:
    """Return what holds for a segment's rows, over the table `t`: they are between its boundaries."""
    if segment is None or not segment.columns:
        return []
    columns = columns_of(table, segment)
    row = ", ".join(f"t.{identifier(c.name)}" for c in columns)

    def compared(operator: str, boundary: tuple[str, ...]) -> str:
        values = ", ".join(literal_of(c, text) for c, text in zip(columns, boundary, strict=True))
        return f"row({row}) {operator} row({values})" if len(columns) > 1 else f"{row} {operator} {values}"

    found = [compared(">=", boundary) for boundary in segment.above]
    if segment.below is not None:
        below = compared("<", segment.below)
        found.append(f"coalesce({below}, true)" if any(c.nullable for c in columns) else below)
    return found


def _rows(connection: Any, table: TableSchema) -> list[tuple[int, TableName, TableName, bool, bool]]:
    with classified("reading the partitions of a table", table=str(table.name)):
        rows = connection.execute(queries.PARTITIONS_OF, {"schema": table.name.schema, "table": table.name.table})
        return [
            (oid, TableName(schema, name), TableName(parent_schema, parent), readable, is_hidden)
            for oid, schema, name, parent_schema, parent, readable, is_hidden in rows.fetchall()
        ]


def _said(name: TableName, table: TableSchema) -> str:
    return name.table if name.schema == table.name.schema else str(name)


def _quoted(name: TableName) -> str:
    return f"{identifier(name.schema)}.{identifier(name.table)}"
