"""Compare two databases row by row in every column, and wait until they are equal.

Rows are compared as the server prints them (`::text`), under session settings that make the print exact and the same
on both sides, by a client that shares no code with the product.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

_SESSION = """set datestyle = 'ISO'; set intervalstyle = 'iso_8601'; set timezone = 'UTC'; set bytea_output = 'hex';
              set extra_float_digits = 3; set client_encoding = 'UTF8'"""
_FETCH_ROWS = 5_000
DIFFERENCES_MAX = 10
"""How many differing rows of a table are described."""
EQUAL_WITHIN_S = 480.0
"""On any machine: nothing is said of how fast a copy follows."""

NOT_YET = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.LockNotAvailable,
)
"""What a target says of a table that is still to be made or altered."""

Row = tuple[str | None, ...]

Name = tuple[str, str]
"""Schema and table: for names with a dot of their own."""


@dataclass(slots=True)
class TableComparison:
    """What came out for one table."""

    table: str
    source_rows: int = 0
    target_rows: int = 0
    difference_count: int = 0
    examples: list[str] = field(default_factory=list)
    """The first differing rows, in words. Only for tests and the demo: they show cell values."""

    def note(self, text: str) -> None:
        """Count a difference; describe it if it is among the first."""
        self.difference_count += 1
        if len(self.examples) < DIFFERENCES_MAX:
            self.examples.append(text)


def compare_databases(
    source: str,
    target: str,
    tables: Sequence[str | Name] | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> list[TableComparison]:
    """Compare tables, named `schema.table`, of two databases given by their connection strings.

    Without names: every ordinary table of the source outside of PostgreSQL's own schemas. `progress(table, rows)` is
    called now and then.
    """
    with psycopg.connect(source) as left, psycopg.connect(target) as right:
        for connection in (left, right):
            connection.execute(_SESSION)
        names: list[str | Name] = list(tables) if tables is not None else [*list_tables(left)]
        return [_compare_table(left, right, name, progress) for name in names]


def differences(source: str, target: str, tables: Sequence[str | Name] | None = None) -> list[str]:
    """Return what differs, in words; an empty list when the databases are equal."""
    return [
        f"{found.table}: {found.difference_count} differences ({found.source_rows} rows at the source, "
        f"{found.target_rows} at the target): " + "; ".join(found.examples)
        for found in compare_databases(source, target, tables)
        if found.difference_count
    ]


def _differences(source: str, target: str, tables: Sequence[str | Name]) -> list[str]:
    found = []
    for table in tables:
        try:
            found += differences(source, target, [table])
        except NOT_YET as error:
            found.append(str(error))
    return found


def wait_until_equal(
    source: str, target: str, tables: Sequence[str | Name] | None = None, timeout_s: float = EQUAL_WITHIN_S
) -> list[str]:
    """Compare until the databases are equal or the time is up; return the last differences. The source must be at rest.

    A table that the target has not got yet is a difference, not an error. While one table differs no other is looked
    at; in the end all are, one after the other.
    """
    deadline = time.monotonic() + timeout_s
    if tables is None:
        with psycopg.connect(source) as connection:
            tables = list_tables(connection)
    waiting = deque(tables)
    while True:
        began_s = time.monotonic()
        found = _first_difference(source, target, waiting)
        if not found:
            return []
        if time.monotonic() > deadline:
            return _differences(source, target, tables)
        pause(began_s)


def pause(began_s: float, most_s: float = 5.0) -> None:
    """Pause behind a look for longer than it took: whoever waits does not keep those from working who are waited for.

    Where all of a large database was looked at, not for much longer than it takes them to get on.
    """
    time.sleep(min(most_s, max(0.25, 2 * (time.monotonic() - began_s))))


def _first_difference(source: str, target: str, waiting: deque[str | Name]) -> list[str]:
    """Compare tables until one differs, which is then the first of `waiting`; return what differs of it."""
    with psycopg.connect(source) as left, psycopg.connect(target) as right:
        for connection in (left, right):
            connection.execute(_SESSION)
        for _ in range(len(waiting)):
            try:
                found = _compare_table(left, right, waiting[0], None)
            except NOT_YET as error:
                return [str(error)]
            if found.difference_count:
                return found.examples
            waiting.rotate(-1)
    return []


def list_tables(connection: psycopg.Connection) -> list[Name]:
    """Return the ordinary and partitioned tables, without partitions."""
    return [
        (schema, table)
        for schema, table in connection.execute(
            """select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
               where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence = 'p'
                 and n.nspname not in ('information_schema', 'pg_catalog', 'tailrace') and n.nspname !~ '^pg_'
               order by 1, 2"""
        )
    ]


def _compare_table(
    left: psycopg.Connection,
    right: psycopg.Connection,
    name: str | Name,
    progress: Callable[[str, int], None] | None,
) -> TableComparison:
    columns, key = _columns(left, name)
    found = TableComparison(name if isinstance(name, str) else ".".join(name))
    # A table without a key is compared as a multiset: ordered by every column, equal rows side by side.
    order = key or columns
    key_length = len(order)
    ordered = [*order, *(column for column in columns if column not in order)]
    sides = _rows(left, name, ordered, key_length), _rows(right, name, ordered, key_length)
    for source_row, target_row in _pairs(*sides, key_length):
        found.source_rows += source_row is not None
        found.target_rows += target_row is not None
        if source_row is None:
            found.note(f"only at the target: {_words(ordered[:key_length], target_row)}")
        elif target_row is None:
            found.note(f"only at the source: {_words(ordered[:key_length], source_row)}")
        elif source_row != target_row:
            unequal = [
                f"{column}: {a!r:.120} / {b!r:.120}"
                for column, a, b in zip(ordered, source_row, target_row, strict=True)
                if a != b
            ]
            found.note(f"{_words(ordered[:key_length], source_row)}: differs in {', '.join(unequal)}")
        if progress and found.source_rows % _FETCH_ROWS == 0:
            progress(found.table, found.source_rows)
    if progress:
        progress(found.table, found.source_rows)
    left.rollback()
    right.rollback()
    return found


_DOCUMENTS = """
with recursive base(name, oid) as (
    select attname, atttypid from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped
    union all
    select b.name, t.typbasetype from base b join pg_type t on t.oid = b.oid where t.typtype = 'd')
select name from base where oid = 'xml'::regtype
"""


def _columns(connection: psycopg.Connection, name: str | Name) -> tuple[list[str], list[str]]:
    """Return the names of the table's columns, and of those of its primary key."""
    quoted = _text(connection, name)
    columns = connection.execute(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped "
        "order by attnum",
        [quoted],
    ).fetchall()
    key = connection.execute(
        """select a.attname from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
           where i.indrelid = %s::regclass and i.indisprimary order by a.attnum""",
        [quoted],
    ).fetchall()
    return [column for (column,) in columns], [column for (column,) in key]


def _rows(connection: psycopg.Connection, name: str | Name, columns: list[str], key_length: int) -> Iterator[Row]:
    """Return the rows, every value as text, ordered by the bytes of the first `key_length` columns."""
    # A document's declaration is in no log, nor in anything else that the server sends: only a cast to text shows it.
    documents = {column for (column,) in connection.execute(_DOCUMENTS, [_text(connection, name)]).fetchall()}
    texts = [
        sql.SQL("xml_out({})::text" if column in documents else "{}::text").format(sql.Identifier(column))
        for column in columns
    ]
    order: list[sql.Composable] = [sql.SQL('{} collate "C" nulls last').format(text) for text in texts[:key_length]]
    # A table may have no columns at all: then its rows are counted.
    # A table that others inherit from is compared without their rows: they are tables of their own.
    kind = connection.execute("select relkind::text from pg_class where oid = %s::regclass", [_text(connection, name)])
    only = sql.SQL("only " if kind.fetchall() == [("r",)] else "")
    query = sql.SQL("select {} from {}{} order by {}").format(
        sql.SQL(", ").join(texts), only, _quoted(name), sql.SQL(", ").join(order or [sql.SQL("ctid")])
    )
    with connection.cursor(name="compare") as cursor:
        cursor.itersize = _FETCH_ROWS
        cursor.execute(query)
        yield from cursor


def _pairs(left: Iterator[Row], right: Iterator[Row], key_length: int) -> Iterator[tuple[Row | None, Row | None]]:
    """Merge two ordered sides; a row without a partner comes with None."""
    a, b = next(left, None), next(right, None)
    while a is not None or b is not None:
        order = 0
        if a is None or b is None:
            order = 1 if a is None else -1
        elif a[:key_length] != b[:key_length]:
            order = -1 if _sort_key(a[:key_length]) < _sort_key(b[:key_length]) else 1
        yield (a if order <= 0 else None), (b if order >= 0 else None)
        if order <= 0:
            a = next(left, None)
        if order >= 0:
            b = next(right, None)


def _sort_key(values: Row) -> tuple[tuple[bool, bytes], ...]:
    return tuple((value is None, (value or "").encode()) for value in values)


def _quoted(name: str | Name) -> sql.Identifier:
    return sql.Identifier(*(name.split(".", 1) if isinstance(name, str) else name))


def _text(connection: psycopg.Connection, name: str | Name) -> str:
    return _quoted(name).as_string(connection)


def _words(columns: list[str], row: Row | None) -> str:
    return ", ".join(f"{column}={value!r:.80}" for column, value in zip(columns, row or (), strict=False))
