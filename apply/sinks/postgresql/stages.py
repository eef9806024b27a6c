"""Staging tables of a session: made when first needed, emptied now and then, dropped when too many.

Rows that have been merged stay until the table is emptied: their parts' numbers are never asked for again. So a small
batch need not pay for a truncation, nor a commit for the staging tables of other tables (`on commit delete rows` would
empty them all). Their number is bounded: the least recently used one is dropped when another is needed.
"""

from __future__ import annotations

import contextlib

import psycopg

from apply.sinks.postgresql.connection import Link
from apply.sinks.postgresql.errors import classify
from apply.sinks.postgresql.statements import TablePlan
from schemas.errors import TailraceError

STAGES_MAX = 256
STALE_ROWS_MAX = 1_000
"""Merged rows that may stay: each statement reads past them."""


class Stages:
    """The staging tables of one link."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._names: dict[TablePlan, str] = {}
        self._uncommitted: set[TablePlan] = set()
        self._drops_uncommitted = False
        self._generation = 0
        self._counter = 0
        self._part = 0
        self._stale: dict[TablePlan, int] = {}

    def next_part(self) -> int:
        """Return a number that no staged row has."""
        return self.next_parts(1)

    def next_parts(self, count: int) -> int:
        """Return the first of `count` consecutive numbers that no staged row has."""
        first = self._part + 1
        self._part += count
        return first

    def stage(self, plan: TablePlan) -> str:
        """Return the name of a plan's staging table, which exists. Driver errors are classified."""
        if self._generation != self.link.generation:
            self._names.clear()
            self._uncommitted.clear()
            self._stale.clear()
            self._generation = self.link.generation
        name = self._names.pop(plan, None)
        if name is None:
            name = self._make(plan)
        self._names[plan] = name  # Last in order: most recently used.
        return name

    def emptying(self, plan: TablePlan, stage: str, row_count: int) -> list[str]:
        """Return the statement that empties a staging table after `row_count` rows were merged, if it is time."""
        stale = self._stale.get(plan, 0) + row_count
        if stale <= STALE_ROWS_MAX:
            self._stale[plan] = stale
            return []
        self._stale[plan] = 0
        return [f"truncate {stage}"]

    def undone(self, plan: TablePlan) -> None:
        """Take note that rows may have stayed: a batch was undone, perhaps with its truncation."""
        self._stale[plan] = STALE_ROWS_MAX

    def _make(self, plan: TablePlan) -> str:
        statements = []
        while len(self._names) >= STAGES_MAX:
            oldest = next(iter(self._names))
            statements.append(f"drop table if exists {self._names.pop(oldest)}")
            self._stale.pop(oldest, None)
            self._uncommitted.discard(oldest)
            self._drops_uncommitted = self._drops_uncommitted or self.link.begun
        self._counter += 1
        name = f"pg_temp.tailrace_stage_{self._counter}"
        statements.append(plan.create_stage(name))
        try:
            self.link.run("; ".join(statements))
        except psycopg.Error as error:
            raise classify(error, "making a staging table", str(plan.table.name)) from error
        if self.link.begun:
            self._uncommitted.add(plan)
        return name

    def committed(self) -> None:
        """Take note of a commit."""
        self._uncommitted.clear()
        self._drops_uncommitted = False

    def rolled_back(self) -> None:
        """Take note of a rollback: what the transaction made is gone."""
        for plan in self._uncommitted:
            self._names.pop(plan, None)
        self._uncommitted.clear()
        self._stale = dict.fromkeys(self._names, STALE_ROWS_MAX)
        if self._drops_uncommitted:
            # Tables whose names we have given up are back.
            self._drops_uncommitted = False
            self._names.clear()
            with contextlib.suppress(psycopg.Error, TailraceError):
                self.link.run("discard temporary")

    def forget(self, plan: TablePlan) -> None:
        """Drop a plan's staging table."""
        name = self._names.pop(plan, None)
        self._stale.pop(plan, None)
        self._uncommitted.discard(plan)
        if name is not None and self._generation == self.link.generation:
            self.link.run(f"drop table if exists {name}")
            self._drops_uncommitted = self._drops_uncommitted or self.link.begun
