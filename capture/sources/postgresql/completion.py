"""Values that the log left out because they did not change, fetched for rows whose key did.

A key change is published as a delete and an insert, and an insert must be whole. The value may have changed since:
then its own change follows in the log and settles it. What a row held that is gone nobody can tell: it stays UNCHANGED,
and its delete follows. So does the value of a column that is gone, or has become another one; but there the row is, and
its table is loaded again.

A row may also have left with a partition that was detached: no delete follows. It is looked for in what the partition
has become.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

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
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

ROWS_PER_QUERY = 500

_PLACE_READER = Reader(LogicalType(Family.INT32), "int(s)", code="i")

Connection = psycopg.Connection[tuple[object, ...]]
Present = Mapping[int, tuple[str, ColumnType]]
"""The columns that a table has now, by their numbers."""


class Completion:
    """Replaces UNCHANGED in new rows; see `Source.complete`."""

    def __init__(self, connected: Callable[[], Connection], catalog: Catalog, directory: str | None) -> None:
        """What comes of large values is in a file in `directory` for a moment."""
        self._connected, self._catalog = connected, catalog
        self._directory = directory
        self._untold: set[TableName] = set()

    def take_untold(self) -> Collection[TableName]:
        """See `Source.untold`."""
        untold, self._untold = self._untold, set()
        return untold

    def complete(self, changes: RowChanges) -> None:
        """Fill in UNCHANGED of the new rows whose old row is known, in place, as far as somebody can tell it."""
        filing = Filing(self._directory, copy_tuple)
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
                asked = _Asked(table, gaps, [_key(table, changes.after[i]) for i in part], filing)
                for place, values in self._fetch(changes, asked).items():
                    row = list(changes.after[part[place]] or ())
                    for c, value in zip(gaps, values, strict=True):
                        row[c] = value
                    changes.after[part[place]] = tuple(row)
                    if UNCHANGED in values:
                        self._untold.add(table.name)

    def _fetch(self, changes: RowChanges, asked: _Asked) -> dict[int, Row]:
        """Return the values of the rows that are there, by the place of the key; UNCHANGED where they are not told."""
        connection = self._connected()
        # Without that the row would be looked for under a key that it does not have yet.
        wait_until_visible(connection, changes.txn)
        for attempt in range(ATTEMPTS_MAX):
            try:
                return _look(connection, self._catalog, asked)
            except TailraceError as error:
                # The table has changed between two questions: asked again, the catalogue says so.
                if error.kind is not ErrorKind.SOURCE_SCHEMA or attempt + 1 == ATTEMPTS_MAX:
                    raise
        raise AssertionError("unreachable")


@dataclass(frozen=True, slots=True)
class _Asked:
    """The rows of a table that lack the values of some columns."""

    table: TableSchema
    gaps: tuple[int, ...]
    keys: Sequence[Row]
    filing: Filing

    def without(self, found: Collection[int]) -> list[int]:
        """Return the places of the keys that are not found."""
        return [place for place in range(len(self.keys)) if place not in found]


def _key(table: TableSchema, row: Row | None) -> Row:
    assert row is not None
    return tuple(row[i] for i in table.key)


def _look(connection: Connection, catalog: Catalog, asked: _Asked) -> dict[int, Row]:
    table = asked.table
    # By its number: under its name may be another one by now.
    oid = table.number or catalog.oids([table.name]).get(table.name, 0)
    now = catalog.name_of(oid, table.name)
    if now is None:
        # What follows in the log says so.
        return {}
    name, kind = now
    present = catalog.column_types(oid)
    query = _query(catalog, present, asked)
    if query is None:
        # The key is gone, or of another type: nothing finds a row.
        return dict.fromkeys(asked.without(()), (UNCHANGED,) * len(asked.gaps))
    # Tables that inherit may have rows of the same key; partitions have the table's.
    found = query.run(connection, _sql(name) if kind == "p" else f"only {_sql(name)}", asked.without(()))
    left = asked.without(found) if oid in catalog.leaves else []
    if left and (detached := _detached(catalog, oid, present, asked)):
        # What is not told there is told nowhere: a load would not bring the row.
        later = query.run(connection, detached, left)
        found |= {place: values for place, values in later.items() if UNCHANGED not in values}
    return found


class _Query(NamedTuple):
    """How the rows of a version are looked up in the table as it is."""

    asked: _Asked
    selected: str
    read: Callable[[bytes], Row]
    gaps: Sequence[Column | None]
    """What the missing columns are called now; None: there is no such column any more, or its values are others."""
    compared: Sequence[tuple[str, str]]
    """Of the key's columns what they are called now, and the cast of their values; see `_compared`."""

    def run(self, connection: Connection, relation: str, places: Sequence[int]) -> dict[int, Row]:
        """Return the values of the rows that `relation` has, of the keys at these places.

        UNCHANGED where the key's type does not take its value any more: nothing tells whether such a row is gone.
        """
        try:
            return self._found(connection, relation, places)
        except TailraceError:
            taken = [place for place in places if _takes(connection, self._words(place))]
            if len(taken) == len(places):
                raise
            others = {place: (UNCHANGED,) * len(self.gaps) for place in places if place not in taken}
            return others | (self._found(connection, relation, taken) if taken else {})

    def _found(self, connection: Connection, relation: str, places: Sequence[int]) -> dict[int, Row]:
        # The server compares: what it takes for equal may look different, and a number be no equal of itself in Python.
        meets = " and ".join(f"t.{identifier(name)} = p.k{n}" for n, (name, _) in enumerate(self.compared))
        aliases = ", ".join(["place", *(f"k{n}" for n in range(len(self.compared)))])
        keys = ", ".join(f"({place}, {', '.join(self._words(place))})" for place in places)
        query = (
            f"copy (select {self.selected} from (values {keys}) as p ({aliases}) join {relation} as t on {meets})"
            " to stdout (format binary)"
        )
        rows: dict[int, Row] = {}
        with classified("completing rows"):
            for place, *cells in map(self.read, single(copy_rows(connection, query, self.asked.filing))):
                told = iter(cells)
                values = [UNCHANGED if gap is None else next(told) for gap in self.gaps]
                # Of several in what were partitions nobody knows which it was.
                rows[place] = (UNCHANGED,) * len(values) if place in rows else tuple(values)
        return rows

    def _words(self, place: int) -> list[str]:
        table = self.asked.table
        key = zip(self.asked.keys[place], table.key, self.compared, strict=True)
        return [f"{literal(text_of(value, table.columns[i].type))}{cast}" for value, i, (_, cast) in key]


def _query(catalog: Catalog, present: Present, asked: _Asked) -> _Query | None:
    """Return how rows are looked up; None where they cannot be found by their key any more."""
    columns = asked.table.columns
    compared = [found for i in asked.table.key if (found := _compared(catalog, present, columns[i])) is not None]
    if len(compared) < len(asked.table.key):
        return None
    gaps = [_read(catalog, present, columns[i]) for i in asked.gaps]
    there = [found for found in gaps if found is not None]
    readers = [_PLACE_READER, *(reader(catalog.types, kind.oid, kind.typmod) for _, kind in there)]
    selected = ["p.place", *(selected_column(catalog.types, kind, column) for column, kind in there)]
    return _Query(
        asked,
        ", ".join(selected),
        compile_copy_reader(readers),
        [found and found[0] for found in gaps],
        compared,
    )


def _detached(catalog: Catalog, oid: int, present: Present, asked: _Asked) -> str | None:
    """Return as SQL the rows of what were partitions of a table, and are no more; None if there is none to be read.

    Their columns have numbers of their own. So only where all still are in the table what they were is it known which
    is which, by their names.
    """
    table = asked.table
    wanted: dict[str, ColumnType] = {}
    for i in (*table.key, *asked.gaps):
        name, kind = present.get(table.columns[i].number, ("", None))
        if name != table.columns[i].name or kind is None:
            return None
        wanted[name] = kind
    names = ", ".join(map(identifier, wanted))
    found = catalog.detached(oid)
    rows = [f"select {names} from {_sql(name)}" for name, kinds in found.items() if wanted.items() <= kinds.items()]
    return f"({' union all '.join(rows)})" if rows else None


def _sql(name: TableName) -> str:
    return f"{identifier(name.schema)}.{identifier(name.table)}"


def _takes(connection: Connection, words: Sequence[str]) -> bool:
    """Tell whether the types of a key still take its values: a label may be gone, or a domain have become narrower."""
    try:
        with classified("completing rows"):
            connection.execute(f"select {', '.join(words)}".encode())
    except TailraceError as error:
        if isinstance(error.__cause__, psycopg.DataError | psycopg.IntegrityError):
            return False
        raise
    return True


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
