"""What sinks that keep every change have in common: nothing waits at barriers, nothing is asked of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from apply.sink import Arrival, Capabilities, TopicPartition
from schemas.errors import TailraceError
from schemas.table import TableSchema

HISTORY = Capabilities(stores_offsets=False, truncates=True, alters=True, keyless=True, history=True, origins=True)
"""What every such sink can do."""

AT_LEAST_ONCE = replace(HISTORY, exactly_once=False)
"""What one can do that cannot tell what comes again from what is new."""


class HistorySink:
    """The part of `Sink` that such a sink needs not write itself; left are `capabilities`, `apply` and `flush`."""

    def load_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """See `Sink`. The group's offsets are the checkpoint."""
        return {}

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Sink`."""

    def prepare(self, table: TableSchema) -> None:
        """See `Sink`. Nothing has to be there before the first change."""

    def is_empty(self, table: TableSchema) -> bool:
        """See `Sink`."""
        return False

    def truncate(self, tables: Sequence[TableSchema]) -> None:
        """See `Sink`. Not called: a truncate is a change like others."""

    def drop(self, table: TableSchema) -> None:
        """See `Sink`. What happened stays."""

    def complete_load(self, table: TableSchema) -> None:
        """See `Sink`."""

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """See `Sink`."""
        return Arrival.PASSED

    def pass_barrier(self, barrier: str) -> bool:
        """See `Sink`."""
        return False

    def defer(self) -> None:
        """See `Sink`."""

    def check(self) -> TailraceError | None:
        """See `Sink`."""
        return None

    def stage_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See `Sink`. Not called."""

    def rollback(self) -> None:
        """See `Sink`."""

    def forget(self) -> list[str]:
        """See `Sink`. Nothing is kept about the replication."""
        return []

    def close(self) -> None:
        """See `Sink`."""
