"""The sample shop: thirteen related tables with the common types, filled inside the server.

All rows come from arithmetic on numbers, so that two runs make the same shop and 420,000 rows take some seconds; every
engine's shop has the same tables and as many rows. Descriptions of products are long on purpose: PostgreSQL keeps them
out of line (TOAST), and an update that leaves them alone does not log them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deploy.demo.engines import Side, fills
from deploy.demo.engines.mysql import SERIES, MysqlSide
from deploy.demo.engines.postgresql import PostgresqlSide

PRODUCTS = ("postgresql", *SERIES)
"""What a side can be."""

ROWS = {fill.table: fill.rows for fill in fills("postgresql")}
"""The rows of each table before business begins, in an order that the foreign keys allow."""

TABLES: tuple[str, ...] = (*ROWS, "markers")
ROWS_TOTAL = sum(ROWS.values())
STATUSES = ("new", "paid", "packed", "shipped", "returned", "cancelled")


def side(product: str, directory: Path, role: str) -> Side:
    """Return the server of a `role`: source or target."""
    return PostgresqlSide(directory, role) if product == "postgresql" else MysqlSide(directory, role, product)


def make(source: Side, on_rows: Callable[[int], None], *, everywhere: bool) -> None:
    """Make and fill the shop; `on_rows` is told how many rows were made."""
    with source.connect() as client:
        source.create_shop(client)
        for step in fills(source.engine):
            source.fill(client, step, everywhere=everywhere)
            on_rows(step.rows)
        source.analyze(client)
