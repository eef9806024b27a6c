"""Tables of several shapes, their rows and their changes: so that no figure is that of one table only.

Rows are a function of their number `i`, so that every run moves the same data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from benchmarks.databases import orders

ROUND_ROWS = 1000
"""Rows that a round of changes inserts; it updates 400 and deletes 100 others."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One table, always called `orders`, and how it is changed."""

    name: str
    title: str
    """What the page of the benchmarks calls it."""
    columns: str
    """What stands between the parentheses of `create table`."""
    values: str
    """The select list that makes row `i`."""
    update: str
    """The `set` of an update."""
    transactions: str = "statement"
    """What a transaction holds: a `statement`, one `row`, or `everything`."""
    full_identity: bool = False
    rows: int = 500_000
    """How many are measured, and half as many changes again, unless another number is asked for: the fastest stage is
    to take longer than `measure.WINDOW_MIN_S`, and the slowest one of the peer minutes."""


_ORDERS_COLUMNS = orders.TABLE.split("(", 1)[1].rsplit(")", 1)[0]
_ORDERS = (_ORDERS_COLUMNS, orders.VALUES, orders.UPDATE)
_WIDE = 60

SHAPES = (
    Shape("orders", "ten columns, 300 bytes", *_ORDERS, rows=600_000),
    Shape(
        "narrow", "three columns", "id bigint primary key, a int, b text", "i, (i % 1000)::int, 'b' || i", "a = a + 1"
    ),
    Shape(
        "wide",
        f"{_WIDE} columns, of four types",
        "id bigint primary key, "
        + ", ".join(f"c{n} {('int', 'text', 'timestamp', 'numeric(12,2)')[n % 4]}" for n in range(1, _WIDE)),
        "i, "
        + ", ".join(
            (
                f"((i * {n}) % 100000)::int",
                f"'text ' || (i % {n + 9})",
                f"timestamp '2025-01-01' + (i % 86400) * interval '{n}.5 seconds'",
                f"((i * {n}) % 1000000)::numeric / 100",
            )[n % 4]
            for n in range(1, _WIDE)
        ),
        "c4 = c4 + 1",
        rows=200_000,
    ),
    Shape(
        "texts",
        "a text of 10 kB in each row, which repeats itself",
        "id bigint primary key, a int, body text",
        # Each update changes it: the log would leave it out.
        "i, (i % 1000)::int, repeat(md5(i::text), 320)",
        "a = a + 1, body = body || '.'",
        rows=200_000,
    ),
    Shape("tiny", "the ten columns, changed in transactions of one row", *_ORDERS, transactions="row"),
    Shape("huge", "the ten columns, all changes in one transaction", *_ORDERS, transactions="everything", rows=700_000),
    Shape("full", "the ten columns under `replica identity full`", *_ORDERS, full_identity=True),
)


def shape(name: str) -> Shape:
    """Return the shape of that name."""
    return next(each for each in SHAPES if each.name == name)


def create(dsn: str, table: Shape, rows: int) -> None:
    """Make the table with rows 1 to `rows`."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"create table orders ({table.columns})".encode())
        if table.full_identity:
            connection.execute("alter table orders replica identity full")
        connection.execute(_insert(table, 1, rows).encode())
        connection.execute("vacuum analyze orders")


def changes(rows: int) -> int:
    """Return how many changes are made to a table of so many rows: half as many again."""
    return rows // ROUND_ROWS * (ROUND_ROWS + 500)


def change(dsn: str, table: Shape, rows: int) -> int:
    """Change a table of `rows` rows; return how many changes these are."""
    statements = list(_changes(table, rows))
    with psycopg.connect(dsn, autocommit=table.transactions != "everything") as connection:
        for statement in statements:
            connection.execute(statement.encode())
    return changes(rows)


def _changes(table: Shape, rows: int) -> Iterator[str]:
    for number in range(rows // ROUND_ROWS):
        first = rows + 1 + number * ROUND_ROWS
        gone = rows // 2 + number * 100
        insert = _insert(table, first, first + ROUND_ROWS - 1)
        update = f"update orders set {table.update} where id between {1 + number * 400} and {400 + number * 400}"
        delete = f"delete from orders where id between {gone + 1} and {gone + 100}"
        if table.transactions != "row":
            yield from (insert, update, delete)
            continue
        yield _row_by_row(_insert(table, "n", "n"), first, first + ROUND_ROWS - 1)
        yield _row_by_row(f"update orders set {table.update} where id = n", 1 + number * 400, 400 + number * 400)
        yield _row_by_row("delete from orders where id = n", gone + 1, gone + 100)


def _insert(table: Shape, first: int | str, last: int | str) -> str:
    return f"insert into orders select {table.values} from generate_series({first}::bigint, {last}::bigint) i"


def _row_by_row(statement: str, first: int, last: int) -> str:
    return f"do $$ begin for n in {first}..{last} loop {statement}; commit; end loop; end $$"
