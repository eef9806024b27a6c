"""Staging tables of a session: made when first needed, dropped when too many.

Rows that have been merged stay until the table is emptied: the numbers of their parts are never asked for again. When
it is emptied depends on what an engine's emptying does to the open transaction. The number of tables is bounded: the
least recently used one is dropped when another is needed.
"""

from __future__ import annotations

from abc import ABC
from typing import Any, ClassVar, Generic, TypeVar

from apply.sink_kinds.relational.link import RelationalLink
from apply.sink_kinds.relational.plan import RelationalPlan

STAGES_MAX = 256

P = TypeVar("P", bound=RelationalPlan[Any])
L = TypeVar("L", bound=RelationalLink)


class RelationalStages(ABC, Generic[P, L]):
    """The staging tables of one link."""

    prefix: ClassVar[str] = "tailrace_stage_"
    """What their names begin with."""
    dropping: ClassVar[str] = "drop table if exists"

    def __init__(self, link: L) -> None:
        self.link = link
        self._names: dict[P, str] = {}
        self._stale: dict[P, int] = {}
        """Merged rows that are still there."""
        self._generation = 0
        self._counter = 0
        self._part = 0

    def next_part(self) -> int:
        """Return a number that no staged row has."""
        return self.next_parts(1)

    def next_parts(self, count: int) -> int:
        """Return the first of `count` consecutive numbers that no staged row has."""
        first = self._part + 1
        self._part += count
        return first

    def stage(self, plan: P) -> str:
        """Return the name of a plan's staging table, which exists. Driver errors are classified."""
        with self.link.classified("making a staging table", plan.table.name):
            self.link.open()
            if self._generation != self.link.generation:
                self._begin_session()
                self._generation = self.link.generation
            name = self._names.pop(plan, None) or self._make(plan)
        self._names[plan] = name  # Last in order: most recently used.
        return name

    def emptying(self, plan: P, row_count: int) -> list[str]:
        """Take note of rows that are merged; return the statements that empty the staging table, if it is time."""
        self._stale[plan] = self._stale.get(plan, 0) + row_count
        return []

    def undone(self, plan: P) -> None:
        """Take note that a batch was undone, perhaps with what emptied the staging table."""

    def committed(self) -> None:
        """Take note of a commit. No transaction is open."""

    def rolled_back(self) -> None:
        """Take note of a rollback."""

    def forget(self, plan: P) -> None:
        """Drop a plan's staging table."""
        if plan in self._names:
            drop = self._drop(plan)
            if self._generation == self.link.generation:
                self.link.run(drop)

    def _begin_session(self) -> None:
        """Take note of a new session, which has no staging tables."""
        self._names.clear()
        self._stale.clear()

    def _make(self, plan: P) -> str:
        dropped = []
        while len(self._names) >= STAGES_MAX:
            dropped.append(self._drop(next(iter(self._names))))
        self._counter += 1
        name = f"{self.prefix}{self._counter}"
        self.link.run(*dropped, plan.create_stage(name))
        return name

    def _drop(self, plan: P) -> str:
        """Forget a staging table; return the statement that drops it."""
        self._stale.pop(plan, None)
        return f"{self.dropping} {self._names.pop(plan)}"
