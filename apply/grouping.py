"""Many tables at once where a sink can take them, and one by one where it cannot."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple, cast

from apply.sink import Arrival, Arriving, GroupingSink, Sink
from runtime.logging import get_logger
from schemas.errors import TailraceError
from schemas.table import TableSchema

log = get_logger(__name__)

GROUP_TABLES_MAX = 50
"""Tables that are made, or completed, in one transaction: a server has room for a few thousand locks."""


class Load(NamedTuple):
    """A loaded table that all partitions have passed."""

    barrier: str
    table: TableSchema
    others: Sequence[TableSchema]
    """Those that are complete, and waited for it."""


class Grouping:
    """What is asked of a sink about many tables."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._group = cast("GroupingSink", sink) if sink.capabilities.groups else None
        self.tables_max = GROUP_TABLES_MAX if self._group is not None else 1
        """Tables that are to be completed together."""

    def prepare(self, tables: Sequence[TableSchema]) -> Iterator[tuple[TableSchema, bool]]:
        """Prepare tables, and yield those that are, each with whether it is empty; those that are left are to come one
        by one. Called with nothing unflushed.
        """
        if self._group is None or len(tables) < 2:
            return
        for start in range(0, len(tables), GROUP_TABLES_MAX):
            group = tables[start : start + GROUP_TABLES_MAX]
            try:
                empty = self._group.prepare_all(group)
            except TailraceError as error:
                # Of one of them, or of their number: it shows when each comes alone.
                log.info("tables are prepared one by one", tables=len(group), reason=error.message)
                self._sink.rollback()
                return
            yield from zip(group, empty, strict=True)

    def pass_all(self, barriers: Collection[str]) -> set[str]:
        """Mark barriers as passed within the open transaction; return those that nobody had passed."""
        if self._group is not None:
            return self._group.pass_all(barriers)
        return {barrier for barrier in barriers if self._sink.pass_barrier(barrier)}

    def complete(self, tables: Iterable[TableSchema]) -> None:
        """Complete tables within the open transaction, each once."""
        once = list({table.name: table for table in tables}.values())
        if self._group is not None:
            self._group.complete_all(once)
            return
        for table in once:
            self._sink.complete_load(table)

    def arrive(self, arrivals: Sequence[Arriving]) -> list[Arrival]:
        """Record arrivals at barriers; tell of each how far its barrier has come."""
        if self._group is not None:
            return self._group.arrive_all(arrivals) if arrivals else []
        return [self._sink.arrive(*arriving) for arriving in arrivals]
