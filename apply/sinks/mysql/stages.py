"""The staging tables as MySQL and MariaDB have them.

The rows of each part of a batch stand together in its key, so that what is stale is never read. A temporary table
outlives a rollback, its rows do not; it is emptied by `truncate`, which commits, only where no transaction is open.
"""

from __future__ import annotations

from apply.sink_kinds.relational.stages import RelationalStages
from apply.sinks.mysql.connection import Link
from apply.sinks.mysql.names import quoted
from apply.sinks.mysql.statements import TablePlan

STALE_ROWS_MAX = 20_000


class Stages(RelationalStages[TablePlan, Link]):
    """The staging tables of one link. They stand in the database `schema`."""

    dropping = "drop temporary table if exists"

    def __init__(self, link: Link, schema: str) -> None:
        super().__init__(link)
        self._schema = schema

    def committed(self) -> None:
        """Empty what has grown large."""
        if self._generation != self.link.generation:
            return
        for plan, name in self._names.items():
            if self._stale.get(plan, 0) > STALE_ROWS_MAX:
                self.link.run(f"truncate table {name}")
                self._stale[plan] = 0

    def _begin_session(self) -> None:
        super()._begin_session()
        # Deletions by an alias want one, whichever it is.
        self.link.run(f"use {quoted(self._schema)}")
