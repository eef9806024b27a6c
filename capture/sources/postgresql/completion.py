"""Values that the log left out because they did not change, fetched for rows whose key did.

A key change is published as a delete and an insert, and an insert must be whole. The value may have changed since:
then its own change follows in the log and settles it, and so does the delete of a row that is gone. Until then a column
that takes no null has something else: a target would have refused the row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace

import psycopg

from capture.sources.postgresql.catalog import ATTEMPTS_MAX, Catalog, ColumnType
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
            unknown = (UNCHANGED,) * len(gaps)
            for i, key in zip(part, keys, strict=True):
                row = list(changes.after[i] or ())
                for c, value in zip(gaps, found.get(key, unknown), strict=True):
                    row[c] = _blank(table.columns[c]) if value is UNCHANGED else value
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
    present = catalog.column_types(oid) if oid is not None else {}
    keys_now = [_as_now(catalog, present, table.columns[i]) for i in table.key]
    gaps_now = [_as_now(catalog, present, table.columns[i]) for i in gaps]
    there = [found for found in (*keys_now, *gaps_now) if found is not None]
    if None in keys_now:
        # The table or its key is gone, or of another type: what follows in the log says so, and brings the rows again.
        return {}
    read = compile_copy_reader([reader(catalog.types, kind.oid, kind.typmod) for _, kind in there])
    selected = ", ".join(selected_column(catalog.types, kind, column) for column, kind in there)
    key_columns = there[: len(keys_now)]
    names = ", ".join(f"t.{identifier(column.name)}" for column, _ in key_columns)
    # Without lengths and the like: one that has become less would be held against the values.
    natives = catalog.natives([(kind.oid, -1) for _, kind in key_columns])
    values = ", ".join(
        "("
        + ", ".join(
            f"{literal(text_of(value, column.type))}::{native}"
            for value, (column, _), native in zip(key, key_columns, natives, strict=True)
        )
        + ")"
        for key in keys
    )
    name = f"{identifier(table.name.schema)}.{identifier(table.name.table)}"
    query = f"copy (select {selected} from {name} as t where ({names}) in ({values})) to stdout (format binary)"
    width = len(table.key)
    found: dict[Row, Row] = {}
    with classified("completing rows"):
        for row in map(read, map(bytes, copy_rows(connection, query, filing))):
            cells = iter(row[width:])
            found[row[:width]] = tuple(UNCHANGED if gap is None else next(cells) for gap in gaps_now)
    return found


def _as_now(
    catalog: Catalog, present: Mapping[int, tuple[str, ColumnType]], column: Column
) -> tuple[Column, ColumnType] | None:
    """Return a column as it is called now, and its type; None where it is gone, or its values are of another form.

    By its number: a column that has another name, or a length, is not sent again.
    """
    numbers = {name: number for number, (name, _) in present.items()}
    found = present.get(column.number or numbers.get(column.name, 0))
    if found is None:
        return None
    name, kind = found
    catalog.load_types([kind.oid])
    logical = reader(catalog.types, kind.oid, kind.typmod).type
    is_same = (logical.family, logical.scale) == (column.type.family, column.type.scale)
    return (replace(column, name=name), kind) if is_same else None
