"""Staging tables of a session: made when first needed, emptied now and then, dropped when too many.

Rows that have been merged stay until the table is emptied: the rows of each part of a batch stand together in its
key, so that what is stale is never read. A temporary table outlives a rollback, its rows do not; it is emptied by
`truncate`, which commits, only where no transaction is open. Their number is bounded.
"""

from __future__ import annotations

import pymysql

from apply.sinks.mysql.connection import Link
from apply.sinks.mysql.errors import classify
from apply.sinks.mysql.names import quoted
from apply.sinks.mysql.statements import TablePlan

STAGES_MAX = 256
STALE_ROWS_MAX = 20_000


class Stages:
    """The staging tables of one link. They stand in the database `schema`."""

    def __init__(self, link: Link, schema: str) -> None:
        self.link = link
        self._schema = schema
        self._names: dict[TablePlan, str] = {}
        self._stale: dict[TablePlan, int] = {}
        self._generation = 0
        self._counter = 0
        self._part = 0

    def next_part(self) -> int:
        """Return a number that no staged row has."""
        self._part += 1
        return self._part

    def stage(self, plan: TablePlan) -> str:
        """Return the name of a plan's staging table, which exists. Driver errors are classified."""
        try:
            _ = self.link.connection
            if self._generation != self.link.generation:
                self._names.clear()
                self._stale.clear()
                self._generation = self.link.generation
                # Deletions by an alias want one, whichever it is.
                self.link.run(f"use {quoted(self._schema)}")
            name = self._names.pop(plan, None)
            if name is None:
                while len(self._names) >= STAGES_MAX:
                    self._drop(next(iter(self._names)))
                self._counter += 1
                name = quoted(f"tailrace_stage_{self._counter}")
                self.link.run(plan.create_stage(name))
        except pymysql.Error as error:
            raise classify(error, "making a staging table", str(plan.table.name)) from error
        self._names[plan] = name  # Last in order: most recently used.
        return name

    def staged(self, plan: TablePlan, row_count: int) -> None:
        """Take note of rows that were staged."""
        self._stale[plan] = self._stale.get(plan, 0) + row_count

    def tidy(self) -> None:
        """Empty what has grown large. Called while no transaction is open."""
        if self._generation != self.link.generation:
            return
        for plan, name in self._names.items():
            if self._stale.get(plan, 0) > STALE_ROWS_MAX:
                self.link.run(f"truncate table {name}")
                self._stale[plan] = 0

    def forget(self, plan: TablePlan) -> None:
        """Drop a plan's staging table."""
        if self._generation == self.link.generation and plan in self._names:
            self._drop(plan)

    def _drop(self, plan: TablePlan) -> None:
        self._stale.pop(plan, None)
        self.link.run(f"drop temporary table if exists {self._names.pop(plan)}")
