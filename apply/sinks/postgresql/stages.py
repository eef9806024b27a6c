"""The staging tables as PostgreSQL has them: part of transactions, as everything there.

So a small batch need not pay for a truncation, nor a commit for the staging tables of other tables (`on commit delete
rows` would empty them all).
"""

from __future__ import annotations

import contextlib

import psycopg

from apply.sink_kinds.relational.stages import RelationalStages
from apply.sinks.postgresql.connection import Link
from apply.sinks.postgresql.statements import TablePlan
from schemas.errors import TailraceError

STALE_ROWS_MAX = 1_000
"""Merged rows that may stay: each statement reads past them."""


class Stages(RelationalStages[TablePlan, Link]):
    """The staging tables of one link."""

    prefix = "pg_temp.tailrace_stage_"

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self._uncommitted: set[TablePlan] = set()
        self._drops_uncommitted = False

    def emptying(self, plan: TablePlan, row_count: int) -> list[str]:
        """Return the statement that empties a staging table after `row_count` rows were merged, if it is time."""
        super().emptying(plan, row_count)
        if self._stale[plan] <= STALE_ROWS_MAX:
            return []
        self._stale[plan] = 0
        return [f"truncate {self._names[plan]}"]

    def undone(self, plan: TablePlan) -> None:
        """Take note that rows may have stayed: a batch was undone, perhaps with its truncation."""
        self._stale[plan] = STALE_ROWS_MAX

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

    def _begin_session(self) -> None:
        super()._begin_session()
        self._uncommitted.clear()

    def _make(self, plan: TablePlan) -> str:
        name = super()._make(plan)
        if self.link.begun:
            self._uncommitted.add(plan)
        return name

    def _drop(self, plan: TablePlan) -> str:
        self._uncommitted.discard(plan)
        self._drops_uncommitted = self._drops_uncommitted or self.link.begun
        return super()._drop(plan)
