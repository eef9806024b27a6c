"""Chunks on their way from a loader to the topic, and which of them are asked for next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from capture.full_load.state import LoadState, TableLoad
from capture.full_load.worker import Rows
from capture.source import Chunk, Snapshot
from schemas.table import TableName

GROUP_TABLES = 50
"""Small tables that are asked for at once: together they have as many rows as a chunk, by estimate."""

GROUPS_PER_PROCESS = 2
"""The tables that are left are so many groups for each process at least: so all have something to do until the end."""


@dataclass(slots=True, eq=False)
class Reading:
    """One chunk on its way from a loader to the topic, or a table that is being cut into chunks."""

    load: TableLoad
    chunk: Chunk | None
    """None: the table is yet to be cut, or to be found small."""
    is_grouped: bool = False
    """Whether it was asked for with others."""
    snapshot: Snapshot | None = None
    batches: deque[Rows] = field(default_factory=deque)
    buffered_bytes: int = 0
    ended: bool = False
    begun: bool = False
    """Some of its rows are in the open Kafka transaction."""
    cancelled: bool = False

    @property
    def is_keyed(self) -> bool:
        """Whether its rows have keys."""
        return bool(self.load.table.key)


def what_next(
    loads: Iterable[TableLoad],
    planning: Collection[TableName],
    busy: Collection[tuple[TableName, int]],
    *,
    tables_max: int,
    rows_max: int,
    rows_of: Callable[[TableLoad], int | None],
) -> Iterator[Reading]:
    """Yield what is to be done next and may be asked for at once: a chunk, a table that is to be cut, or small tables.

    `planning` and `busy` are asked for already. `rows_of` estimates a table's rows; None: it comes alone.
    """
    is_first = True
    for load in loads:
        if load.name in planning:
            continue
        if load.state is not LoadState.PLANNED:
            free = (c for c in load.chunks if c.number not in load.done and (load.name, c.number) not in busy)
            chunk = next(free, None)
            if chunk is None:
                continue
            if is_first:
                yield Reading(load, chunk)
            return
        count = rows_of(load)
        is_small = count is not None and count <= rows_max
        if is_first or is_small:
            yield Reading(load, None, is_small)
        tables_max, rows_max = tables_max - 1, rows_max - (count or 0)
        if not is_small or tables_max <= 0 or rows_max <= 0:
            return
        is_first = False
