"""The table that is moved, its rows, and the changes: ten columns of everyday types, about 300 bytes a row.

Rows are a function of their number, so that every run moves the same data.
"""

from __future__ import annotations

import psycopg

ROWS_STEP = 1000
CHANGES_PER_ROUND = 1500

TABLE = """\
create table {name} (id bigint primary key, customer_id bigint, status varchar(20), amount numeric(12,2), note text,
  created_at timestamptz, updated_at timestamp, active bool, payload jsonb, qty int)"""

VALUES = """\
i, (i * 7919) % 100000,
  (array['new', 'paid', 'shipped', 'delivered', 'cancelled'])[(1 + i % 5)::int],
  ((i * 104729) % 10000000)::numeric / 100,
  'order note ' || substr(md5(i::text) || md5((i + 1)::text), 1, 49),
  timestamptz '2024-01-01 00:00:00+00' + i * interval '37.123457 seconds',
  timestamp '2025-01-01' + i * interval '11.654321 seconds', i % 3 <> 0,
  jsonb_build_object('sku', 'SKU-' || (i % 5000), 'tags', jsonb_build_array('a' || (i % 7), 'b' || (i % 11)),
    'w', (i % 997) / 10.0, 'ref', md5(i::text)), (i % 17)::int"""
"""The select list that makes row `i`."""

UPDATE = "status = 'updated', qty = qty + 1, updated_at = updated_at + interval '1 day'"

_INSERT = f"insert into orders select {VALUES.replace('%', '%%')} from generate_series(%s::bigint, %s::bigint) i"
_UPDATE = f"update orders set {UPDATE} where id between %s and %s"

_DIGEST = "select count(*), sum(hashtextextended(o::text, 0)::numeric) from {} o"


def create(dsn: str, rows: int) -> None:
    """Make the table with rows 1 to `rows`."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(TABLE.format(name="orders").encode())
        insert(connection, 1, rows)
        connection.execute("vacuum analyze orders")


def insert(connection: psycopg.Connection, first: int, last: int) -> None:
    """Insert the rows of these numbers, both included."""
    connection.execute(_INSERT.encode(), (first, last))


def change(dsn: str, rows: int) -> int:
    """Change a table of `rows` rows; return the number of changed rows, half as many again.

    Each round is three transactions: 1,000 inserts, 400 updates, 100 deletes.
    """
    rounds = rows // ROWS_STEP
    with psycopg.connect(dsn, autocommit=True) as connection:
        for number in range(rounds):
            insert(connection, rows + 1 + number * 1000, rows + (number + 1) * 1000)
            connection.execute(_UPDATE.encode(), (1 + number * 400, (number + 1) * 400))
            deleted = rows // 2 + number * 100
            connection.execute("delete from orders where id between %s and %s", (deleted + 1, deleted + 100))
    return rounds * CHANGES_PER_ROUND


def digest(dsn: str, table: str = "orders") -> tuple[object, ...]:
    """Return the number of rows and a sum over their texts: two tables with the same digest hold the same rows."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(_DIGEST.format(table).encode()).fetchone() or ()
