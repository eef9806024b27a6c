"""Tailrace's own tables in Redshift: offsets with their fences, and barriers.

Nothing is unique there unless whoever writes sees to it: claims and arrivals lock their table first. A claim gives a
partition a new fence; an earlier owner then updates no row, and learns it before it can commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from apply.sink import Arrival, TopicPartition
from apply.sinks.redshift.link import Link
from apply.sinks.redshift.statements import quoted
from schemas.errors import ErrorKind, TailraceError

_OWNER = "replication character varying(255) not null, target character varying(255) not null"
_PARTITION = "topic character varying(255) not null, partition_number integer not null"
_OFFSET = "next_offset bigint, fence bigint not null"
_BARRIER = "barrier character varying(1024) not null"
_ONE = "replication = %s and target = %s"


class ControlTables:
    """The control tables of one replication and target."""

    def __init__(self, link: Link, schema: str, replication: str, target: str) -> None:
        self._link = link
        self._schema_name = schema.lower()
        self._schema = quoted(self._schema_name)
        self._owner = (replication, target)
        self._fences: dict[TopicPartition, int] = {}
        self._installed = False

    def definitions(self) -> list[str]:
        """Return the statements that make the tables."""
        return [
            f"create schema if not exists {self._schema}",
            f"create table if not exists {self._schema}.offsets ({_OWNER}, {_PARTITION}, {_OFFSET})",
            f"create table if not exists {self._schema}.barriers ({_OWNER}, {_BARRIER}, {_PARTITION})",
            f"create table if not exists {self._schema}.barriers_passed ({_OWNER}, {_BARRIER})",
        ]

    def install(self) -> None:
        """Make the tables unless they are there, in a transaction of their own."""
        if self._installed:
            return
        with self._link.own_transaction():
            found = self._link.rows(
                "select count(*) from information_schema.tables where table_schema = %s and table_name = %s",
                (self._schema_name, "barriers_passed"),
            )
            if not found[0][0]:
                for statement in self.definitions():
                    self._link.run(statement, doing="making the control tables")
        self._installed = True

    def lock(self) -> None:
        """Keep others from changing definitions and claims until the transaction ends."""
        self._link.run(f"lock {self._schema}.offsets", doing="locking the control tables")

    def claim(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Claim partitions with a new fence each; return the offsets that are known."""
        self.install()
        with self._link.own_transaction():
            self.lock()
            return {partition: offset for partition in partitions if (offset := self._claim(partition)) is not None}

    def _claim(self, partition: TopicPartition) -> int | None:
        where = f"where {_ONE} and topic = %s and partition_number = %s"
        one = (*self._owner, *partition)
        known = self._link.rows(f"select next_offset, fence from {self._schema}.offsets {where}", one)
        if not known:
            self._link.run(f"insert into {self._schema}.offsets values (%s, %s, %s, %s, null, 1)", one)
            self._fences[partition] = 1
            return None
        ((offset, fence),) = known
        self._link.run(f"update {self._schema}.offsets set fence = fence + 1 {where}", one)
        self._fences[partition] = fence + 1
        return None if offset is None else int(offset)

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget partitions that were taken away."""
        for partition in partitions:
            self._fences.pop(partition, None)

    def stage(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Write next offsets in the open transaction. Raises INVARIANT when fenced."""
        for partition, offset in offsets.items():
            changed = self._link.run(
                f"update {self._schema}.offsets set next_offset = %s where {_ONE} and topic = %s "
                "and partition_number = %s and fence = %s",
                (offset, *self._owner, *partition, self._fences.get(partition, 0)),
                doing="storing offsets",
            )
            if changed != 1:
                raise TailraceError(
                    ErrorKind.INVARIANT,
                    f"partition {partition.partition} of {partition.topic} belongs to another applier by now",
                )

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """Record an arrival, durably and at once; tell how far the barrier has come."""
        self.install()
        one = (*self._owner, barrier)
        arrived = f"from {self._schema}.barriers where {_ONE} and barrier = %s"
        with self._link.own_transaction():
            self._link.run(f"lock {self._schema}.barriers", doing="waiting at a barrier")
            mine = self._link.rows(f"select 1 {arrived} and topic = %s and partition_number = %s", (*one, *partition))
            if not mine:
                self._link.run(f"insert into {self._schema}.barriers values (%s, %s, %s, %s, %s)", (*one, *partition))
            ((count,),) = self._link.rows(f"select count(*) {arrived}", one)
            return Arrival.of(count, partition_count, is_passed=self._is_passed(barrier))

    def pass_barrier(self, barrier: str) -> bool:
        """Mark a barrier as passed in the open transaction; False if somebody has passed it already."""
        self.install()
        self._link.run(f"lock {self._schema}.barriers_passed", doing="passing a barrier")
        if self._is_passed(barrier):
            return False
        self._link.run(f"insert into {self._schema}.barriers_passed values (%s, %s, %s)", (*self._owner, barrier))
        return True

    def forget(self) -> list[str]:
        """Remove what is kept about the replication and target."""
        self.install()
        with self._link.own_transaction():
            return [
                f"removed {self._link.run(f'delete from {self._schema}.{table} where {_ONE}', self._owner)} rows of "
                f"{self._schema}.{table}"
                for table in ("offsets", "barriers", "barriers_passed")
            ]

    def _is_passed(self, barrier: str) -> bool:
        query = f"select 1 from {self._schema}.barriers_passed where {_ONE} and barrier = %s"
        return bool(self._link.rows(query, (*self._owner, barrier)))
