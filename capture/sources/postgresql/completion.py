"""Values that the log left out because they did not change, fetched for rows whose key did.

A key change is published as a delete and an insert, and an insert must be whole. The value may have changed since:
then its own change follows in the log and settles it, and so does the delete of a row that is gone. Until then a column
that takes no null has something else: a target would have refused the row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import psycopg

from capture.sources.postgresql.catalog import ATTEMPTS_MAX, Catalog
from capture.sources.postgresql.connection import classified, identifier, literal
from capture.sources.postgresql.copying import compile_copy_reader, copy_rows, selected_column
from capture.sources.postgresql.extents import copy_tuple
from capture.sources.postgresql.frames import Filing
from capture.sources.postgresql.literals import text_of
from capture.sources.postgresql.snapshot import wait_until_visible
from capture.sources.postgresql.types import reader
from schemas.changes import UNCHANGED, Row, RowChanges
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column, TableSchema
from schemas.types.blank import BLANK

ROWS_PER_QUERY = 500


def complete(
    connected: Callable[[], psycopg.Connection[tuple[object, ...]]],
    catalog: Catalog,
    changes: RowChanges,
    directory: str | None,
) -> None:
    """Fill in UNCHANGED of the new rows whose old row is known, in place; what stands for it where there is none.

    What comes of large ones is in a file in `directory` for a moment.
    """
    filing = Filing(directory, copy_tuple)
    table = changes.table
    wanted: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for i, (before, after) in enumerate(zip(changes.before, changes.after, strict=True)):
        if before is None or after is None:
            continue
        gaps = tuple(c for c, value in enumerate(after) if value is UNCHANGED)
        if gaps:
            wanted[gaps].append(i)
    for gaps, places in wanted.items():
        for start in range(0, len(places), ROWS_PER_QUERY):
            part = places[start : start + ROWS_PER_QUERY]
            keys = [_key(table, changes.after[i]) for i in part]
            found = _fetch(connected(), catalog, changes, gaps, keys, filing)
            unknown = tuple(_blank(table.columns[c]) for c in gaps)
            for i, key in zip(part, keys, strict=True):
                row = list(changes.after[i] or ())
                for c, value in zip(gaps, found.get(key, unknown), strict=True):
                    row[c] = value
                changes.after[i] = tuple(row)


def _blank(column: Column) -> object:
    if column.nullable:
        return None
    return "{}" if column.native.endswith("[]") else BLANK.get(column.type.family)


def _key(table: TableSchema, row: Row | None) -> Row:
    assert row is not None
    return tuple(row[i] for i in table.key)


def _fetch(
    connection: psycopg.Connection[tuple[object, ...]],
    catalog: Catalog,
    changes: RowChanges,
    gaps: tuple[int, ...],
    keys: list[Row],
    filing: Filing,
) -> dict[Row, Row]:
    # Without that the row would be looked for under a key that it does not have yet.
    wait_until_visible(connection, changes.txn)
    for attempt in range(ATTEMPTS_MAX):
        try:
            return _look_up(connection, catalog, changes.table, gaps, keys, filing)
        except TailraceError as error:
            # The table has changed between two questions: asked again, the catalogue says so.
            if error.kind is not ErrorKind.SOURCE_SCHEMA or attempt + 1 == ATTEMPTS_MAX:
                raise
    raise AssertionError("unreachable")


def _look_up(
    connection: psycopg.Connection[tuple[object, ...]],
    catalog: Catalog,
    table: TableSchema,
    gaps: tuple[int, ...],
    keys: list[Row],
    filing: Filing,
) -> dict[Row, Row]:
    oid = catalog.oids([table.name]).get(table.name)
    types = catalog.column_types(oid) if oid is not None else {}
    columns = [table.columns[i] for i in (*table.key, *gaps)]
    present = [types[column.name] for column in columns if column.name in types]
    if catalog.natives([(kind.oid, kind.typmod) for kind in present]) != [column.native for column in columns]:
        # The table or a column is gone, or of another type: what follows in the log says so, and brings the rows again.
        return {}
    catalog.load_types(types[column.name].oid for column in columns)
    read = compile_copy_reader(
        [reader(catalog.types, types[column.name].oid, types[column.name].typmod) for column in columns]
    )
    selected = ", ".join(selected_column(catalog.types, types[column.name], column) for column in columns)
    key_columns = [table.columns[i] for i in table.key]
    names = ", ".join(f"t.{identifier(column.name)}" for column in key_columns)
    values = ", ".join(
        "("
        + ", ".join(
            f"{literal(text_of(value, column.type))}::{column.native}"
            for value, column in zip(key, key_columns, strict=True)
        )
        + ")"
        for key in keys
    )
    name = f"{identifier(table.name.schema)}.{identifier(table.name.table)}"
    query = f"copy (select {selected} from {name} as t where ({names}) in ({values})) to stdout (format binary)"
    width = len(table.key)
    with classified("completing rows"):
        return {row[:width]: row[width:] for row in map(read, map(bytes, copy_rows(connection, query, filing)))}
