"""Values that the log left out because they did not change, fetched for rows whose key did.

A key change is published as a delete and an insert, and an insert must be whole. The value may have changed since:
then its own change follows in the log and settles it. What a row held that is gone nobody can tell: it stays UNCHANGED,
and its delete follows. So does what becomes of a column that a row has lost, which is empty until then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import psycopg

from capture.sources.postgresql.catalog import ATTEMPTS_MAX, Catalog, ColumnType
from capture.sources.postgresql.connection import classified, identifier, literal
from capture.sources.postgresql.copying import compile_copy_reader, copy_rows, selected_column, single
from capture.sources.postgresql.extents import copy_tuple
from capture.sources.postgresql.frames import Filing
from capture.sources.postgresql.literals import text_of
from capture.sources.postgresql.snapshot import wait_until_visible
from capture.sources.postgresql.types import TYPMOD_NONE, Reader, reader
from schemas.changes import UNCHANGED, Row, RowChanges
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column, TableSchema
from schemas.types import Family, LogicalType
from schemas.types.blank import blank

ROWS_PER_QUERY = 500

_PLACE_READER = Reader(LogicalType(Family.INT32), "int(s)", code="i")


def complete(
    connected: Callable[[], psycopg.Connection[tuple[object, ...]]],
    catalog: Catalog,
    changes: RowChanges,
    directory: str | None,
) -> None:
    """Fill in UNCHANGED of the new rows whose old row is known, in place, except where the row is gone.

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
            for place, i in enumerate(part):
                if place in found:
                    row = list(changes.after[i] or ())
                    for c, value in zip(gaps, found[place], strict=True):
                        row[c] = _empty(table.columns[c]) if value is UNCHANGED else value
                    changes.after[i] = tuple(row)


def _empty(column: Column) -> object:
    return None if column.nullable else blank(column.type.family, column.native)


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
) -> dict[int, Row]:
    """Return the values of the rows that are there, by the place of the key; UNCHANGED of a column that is lost."""
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
) -> dict[int, Row]:
    oid = catalog.oids([table.name]).get(table.name)
    present = catalog.column_types(oid) if oid is not None else {}
    compared = [_compared(catalog, present, table.columns[i]) for i in table.key]
    if None in compared:
        # The table or its key is gone, or of another type: what follows in the log says so, and brings the rows again.
        return {}
    gaps_now = [_read(catalog, present, table.columns[i]) for i in gaps]
    there = [found for found in gaps_now if found is not None]
    read = compile_copy_reader([_PLACE_READER, *(reader(catalog.types, kind.oid, kind.typmod) for _, kind in there)])
    selected = ", ".join(["p.place", *(selected_column(catalog.types, kind, column) for column, kind in there)])
    columns = [found for found in compared if found is not None]
    words = [
        [
            f"{literal(text_of(value, table.columns[i].type))}{cast}"
            for value, i, (_, cast) in zip(key, table.key, columns, strict=True)
        ]
        for key in keys
    ]
    name = f"{identifier(table.name.schema)}.{identifier(table.name.table)}"
    # The server compares: what it takes for equal may look different, and a number be no equal of its own to Python.
    meets = " and ".join(f"t.{identifier(name)} = p.k{n}" for n, (name, _) in enumerate(columns))
    aliases = ", ".join(["place", *(f"k{n}" for n in range(len(columns)))])

    def found(places: Sequence[int]) -> dict[int, Row]:
        values = ", ".join(f"({place}, {', '.join(words[place])})" for place in places)
        query = (
            f"copy (select {selected} from (values {values}) as p ({aliases}) join {name} as t on {meets})"
            " to stdout (format binary)"
        )
        rows: dict[int, Row] = {}
        with classified("completing rows"):
            for row in map(read, single(copy_rows(connection, query, filing))):
                cells = iter(row[1:])
                rows[row[0]] = tuple(UNCHANGED if gap is None else next(cells) for gap in gaps_now)
        return rows

    every = range(len(keys))
    try:
        return found(every)
    except TailraceError:
        taken = [place for place in every if _takes(connection, words[place])]
        if len(taken) == len(keys):
            raise
        # Nothing tells whether the others are gone.
        others = {place: (UNCHANGED,) * len(gaps) for place in every if place not in taken}
        return others | (found(taken) if taken else {})


def _takes(connection: psycopg.Connection[tuple[object, ...]], words: Sequence[str]) -> bool:
    """Tell whether the types of a key still take its values: a label may be gone, or a domain have become narrower."""
    try:
        with classified("completing rows"):
            connection.execute(f"select {', '.join(words)}".encode())
    except TailraceError as error:
        if isinstance(error.__cause__, psycopg.DataError | psycopg.IntegrityError):
            return False
        raise
    return True


Present = Mapping[int, tuple[str, ColumnType]]


def _compared(catalog: Catalog, present: Present, column: Column) -> tuple[str, str] | None:
    """Return what a column of the key is called now, and the cast of its earlier values to what it is compared with;
    None where it is gone, or values of its type cannot be compared with it.
    """
    found = _now(catalog, present, column)
    if found is None:
        return None
    name, kind, later = found
    family = column.type.family
    if later.family is not family and not {later.family, family} <= _NUMBERS:
        return None
    # Without lengths and the like: one that has become less would be held against the values.
    native, unbounded = catalog.natives([(kind.oid, kind.typmod), (kind.oid, TYPMOD_NONE)])
    cast = f"::{unbounded}"
    if later.family is not family:
        cast = f"::numeric{cast}"
    elif native != column.native and column.native.startswith(_PADDED):
        # As the server has converted the rows: without blanks at the end.
        cast = f"::bpchar{cast}"
    return name, cast


def _read(catalog: Catalog, present: Present, column: Column) -> tuple[Column, ColumnType] | None:
    """Return a column as it is called now, and its type; None where it is gone, or its values are of another form."""
    found = _now(catalog, present, column)
    if found is None:
        return None
    name, kind, later = found
    is_same = (later.family, later.scale) == (column.type.family, column.type.scale)
    return (replace(column, name=name), kind) if is_same else None


def _now(catalog: Catalog, present: Present, column: Column) -> tuple[str, ColumnType, LogicalType] | None:
    """Return what a column is called now, and its type; None where it is gone.

    By its number: a column that has another name, or a length, is not sent again.
    """
    numbers = {name: number for number, (name, _) in present.items()}
    found = present.get(column.number or numbers.get(column.name, 0))
    if found is None:
        return None
    name, kind = found
    catalog.load_types([kind.oid])
    return name, kind, reader(catalog.types, kind.oid, kind.typmod).type


_NUMBERS = frozenset(
    {
        *(Family.INT16, Family.INT32, Family.INT64, Family.DECIMAL, Family.NUMERIC),
        *(Family.FLOAT32, Family.FLOAT64),
    }
)
_PADDED = ("character(", "bpchar")
