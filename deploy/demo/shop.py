"""The sample shop: thirteen related tables with the common types, filled inside the server.

All rows come from `generate_series` and arithmetic on its numbers (`fill.sql`), so that two runs make the same shop
and 420,000 rows take some seconds. Descriptions of products are long on purpose: PostgreSQL keeps them out of line
(TOAST), and an update that leaves them alone does not log them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

_HERE = Path(__file__).parent
_IDENTITIES = ("products", "customers", "orders", "reviews")


class Fill(NamedTuple):
    """The statement that fills one table with a number of rows."""

    table: str
    rows: int
    statement: str


def _fills() -> tuple[Fill, ...]:
    text = (_HERE / "fill.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- fill: (\w+) (\d+)$", text, flags=re.MULTILINE)[1:]
    return tuple(
        Fill(table, int(rows), statement.replace("{rows}", rows))
        for table, rows, statement in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    )


FILLS = _fills()
"""In an order that the foreign keys allow."""

KEYS: dict[str, tuple[str, ...]] = {
    "countries": ("code",),
    "addresses": ("customer", "number"),
    "inventory": ("warehouse", "product"),
    "order_items": ("order_id", "line"),
    "page_views": (),
}
"""The keys that are not just `id`."""

TABLES: tuple[str, ...] = (*(fill.table for fill in FILLS), "markers")
ROWS_TOTAL = sum(fill.rows for fill in FILLS)


def create(connection: psycopg.Connection[Any]) -> None:
    """Make the shop's types and tables in an empty database."""
    connection.execute((_HERE / "schema.sql").read_bytes())
    connection.commit()


def fill(connection: psycopg.Connection[Any], step: Fill) -> None:
    """Fill one table, and move its identity's sequence past the rows.

    Foreign keys hold by construction: they are not checked, which needs a superuser.
    """
    connection.execute("set local session_replication_role = replica")
    connection.execute(step.statement.encode())
    if step.table in _IDENTITIES:
        connection.execute("select setval(pg_get_serial_sequence(%s, 'id'), %s)", (f"public.{step.table}", step.rows))
    connection.commit()


def analyze(connection: psycopg.Connection[Any]) -> None:
    """Let the server count: row estimates of the plan and of the progress come from its statistics."""
    connection.execute("analyze")
    connection.commit()
