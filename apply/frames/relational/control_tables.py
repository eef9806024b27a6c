"""Tailrace's own tables in a relational target: offsets with their fences, barriers, and the versions of tables.

They stand at the same server as the rows, so that one transaction covers both: exactly once, Invariant 6. The offsets
of a partition carry a fence, a number that grows with each claim; an owner that lost its partition to another updates
no row any more and learns it before it can commit.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

from apply.frames.relational.link import RelationalLink
from apply.sink import Arrival, TopicPartition
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName, TableSchema

TABLES = ("offsets", "barriers", "barriers_passed", "tables")
_BARRIER_KEEP_DAYS = 30
ONE_TABLE = "where replication = %s and target = %s and source_schema = %s and source_table = %s"


@dataclass(frozen=True, slots=True)
class Spelling:
    """How an engine writes what the control tables need."""

    quoted: Callable[[str], str]
    literal: Callable[[str], str]
    owner: str
    """Type of the names of replications and targets; the next ones too are of what the names say."""
    topic: str
    barrier: str
    name: str
    time: str
    document: str
    now: str
    """The time now, as it is stored."""
    days_ago: str
    """The time `{days}` days ago."""
    refers: str
    """Condition that a document's foreign keys contain those of one parameter, a JSON array."""
    options: str = ""
    """What follows a table's definition."""


class RelationalControlTables(ABC):
    """The control tables of one replication and target. Driver errors pass through."""

    spelling: ClassVar[Spelling]

    def __init__(self, link: RelationalLink, schema: str, replication: str, target: str) -> None:
        self._link = link
        self._schema_name = schema
        self._schema = self.spelling.quoted(schema)
        self._partition = self.spelling.quoted("partition")
        self._owner = (replication, target)
        self._fences: dict[TopicPartition, int] = {}
        self._installed = False

    # Definitions

    def definitions(self) -> list[str]:
        """Return the statements that make the tables; an operator may run them instead of us."""
        by = self.spelling
        owner = f"replication {by.owner} not null, target {by.owner} not null"
        partition = f"topic {by.topic} not null, {self._partition} integer not null"
        columns = {
            "offsets": f"{owner}, {partition}, next_offset bigint null, fence bigint not null, "
            f"updated_at {by.time} not null, primary key (replication, target, topic, {self._partition})",
            "barriers": f"{owner}, barrier {by.barrier} not null, {partition}, arrived_at {by.time} not null, "
            f"primary key (replication, target, barrier, topic, {self._partition})",
            "barriers_passed": f"{owner}, barrier {by.barrier} not null, passed_at {by.time} not null, "
            "primary key (replication, target, barrier)",
            "tables": f"{owner}, source_schema {by.name} not null, source_table {by.name} not null, "
            f"version integer not null, loaded boolean not null default false, document {by.document}, "
            f"updated_at {by.time} not null, primary key (replication, target, source_schema, source_table)",
        }
        return [self._create_schema()] + [
            f"create table if not exists {self._schema}.{name} ({columns[name]}){by.options}" for name in TABLES
        ]

    def install(self) -> None:
        """Make the tables where they are missing. Needs no right to create where they are there."""
        if not self._installed:
            if not self.is_installed():
                self._create()
            self._installed = True

    def is_installed(self) -> bool:
        """Tell whether all of our tables are there."""
        return len(self._present()) == len(TABLES)

    def _present(self) -> set[str]:
        listing = ", ".join(map(self.spelling.literal, TABLES))
        found = self._link.rows(
            "select table_name from information_schema.tables "
            f"where table_schema = {self.spelling.literal(self._schema_name)} and table_name in ({listing})"
        )
        return {name for (name,) in found}

    @abstractmethod
    def _create_schema(self) -> str:
        """Return the statement that makes the schema."""

    @abstractmethod
    def _create(self) -> None:
        """Make what is missing."""

    # Who may do what

    @abstractmethod
    def alone(self) -> AbstractContextManager[None]:
        """Keep other appliers from changing definitions meanwhile. Raises TARGET_THROTTLED if another takes too long.

        Where definitions are part of transactions the block is one, unless one is open.
        """

    @abstractmethod
    def announce(self, table: TableSchema) -> None:
        """Wait until nobody writes a table, and let nobody begin to who does not know this version."""

    @abstractmethod
    def guard_table(self, name: TableName) -> int | None:
        """Let nobody alter a table until the transaction ends; return the version that it was prepared for."""

    # Offsets

    def claim(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Claim partitions; return the next offset of each that has one."""
        self.install()
        found: dict[TopicPartition, int] = {}
        with self._link.own_transaction():
            for partition in sorted(partitions):
                # Waits here for a former owner that has staged offsets and not yet committed.
                next_offset, self._fences[partition] = self._claim_one(partition)
                if next_offset is not None:
                    found[partition] = next_offset
        return found

    @abstractmethod
    def _claim_one(self, partition: TopicPartition) -> tuple[int | None, int]:
        """Raise a partition's fence, or put its first one; return its next offset and the new fence."""

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget the fences of partitions."""
        for partition in partitions:
            self._fences.pop(partition, None)

    def stage(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Write next offsets in the open transaction. Raises INVARIANT when another owner has claimed one of them."""
        cases, places = [], []
        literal = self.spelling.literal
        for partition, next_offset in sorted(offsets.items()):
            fence = self._fences.get(partition)
            if fence is None:
                raise _fenced(partition)
            place = f"topic = {literal(partition.topic)} and {self._partition} = {partition.partition}"
            cases.append(f"when {place} then {next_offset}")
            places.append(f"({place} and fence = {fence})")
        if not cases:
            return
        replication, target = map(literal, self._owner)
        written = self._link.run(
            f"update {self._schema}.offsets set next_offset = case {' '.join(cases)} end, "
            f"updated_at = {self.spelling.now} where replication = {replication} and target = {target} "
            f"and ({' or '.join(places)})"
        )
        if written != len(cases):
            raise _fenced(next(iter(offsets)))

    # Barriers

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """Record an arrival in a transaction of its own; tell how far the barrier has come."""
        self.install()
        schema, key = self._schema, (*self._owner, barrier)
        where = "where replication = %s and target = %s and barrier = %s"
        if self._link.rows(f"select 1 from {schema}.barriers_passed {where}", key):
            return Arrival.PASSED
        with self._link.own_transaction():
            old = self.spelling.days_ago.format(days=_BARRIER_KEEP_DAYS)
            self._link.run(f"delete from {schema}.barriers where arrived_at < {old}")
            self._add("barriers", (*key, *partition))
        count = f"select count(*) from {schema}.barriers {where} and topic = %s"
        arrived = self._link.value(count, (*key, partition.topic))
        return Arrival.READY if arrived >= partition_count else Arrival.WAITING

    def pass_barrier(self, barrier: str) -> bool:
        """Mark a barrier as passed in the open transaction; False if it has been passed."""
        return self._add("barriers_passed", (*self._owner, barrier))

    @abstractmethod
    def _add(self, table: str, values: Sequence[Any]) -> bool:
        """Insert a row of these values and the time now; False if its key is there.

        Where another transaction has just inserted it, waits for that one's end.
        """

    # Tables

    def recorded(self, name: TableName) -> TableSchema | None:
        """Return the newest version of a table that was prepared here."""
        query = f"select document from {self._schema}.tables {ONE_TABLE}"
        document = self._link.value(query, (*self._owner, *name))
        return _table(document) if document is not None else None

    @abstractmethod
    def record(self, table: TableSchema) -> None:
        """Remember the version of a table, which was announced before."""

    @abstractmethod
    def tell(self, event: str, name: TableName) -> None:
        """Say in the target's log, if it is to tell what is written here, that one of its tables is about to be
        `created`, `altered` or `dropped`: a definition alone may not say by whom.
        """

    def mark_loaded(self, name: TableName, *, is_loaded: bool = True) -> None:
        """Remember that a table's full load is complete, or is no more."""
        self._link.execute(
            f"update {self._schema}.tables set loaded = %s, updated_at = {self.spelling.now} {ONE_TABLE}",
            (is_loaded, *self._owner, *name),
        )

    def names(self) -> list[TableName]:
        """Return the names of all tables that were prepared here."""
        return self._names("")

    def loaded_names(self) -> set[TableName]:
        """Return the names of the tables whose full load is complete."""
        return set(self._names(" and loaded"))

    def _names(self, condition: str) -> list[TableName]:
        found = self._link.rows(
            f"select source_schema, source_table from {self._schema}.tables where replication = %s and target = %s"
            f"{condition} order by 1, 2",
            self._owner,
        )
        return [TableName(*name) for name in found]

    def loaded_referring_to(self, name: TableName) -> list[TableSchema]:
        """Return the loaded tables with a foreign key to the table of this name, itself included."""
        documents = self._link.rows(
            f"select document from {self._schema}.tables where replication = %s and target = %s and loaded "
            f"and {self.spelling.refers} order by source_schema, source_table",
            (*self._owner, json.dumps([{"target": list(name)}])),
        )
        tables = [_table(document) for (document,) in documents]
        return [table for table in tables if any(key.target == name for key in table.foreign_keys)]

    def forget_table(self, name: TableName) -> None:
        """Forget a dropped table."""
        self._link.execute(f"delete from {self._schema}.tables {ONE_TABLE}", (*self._owner, *name))

    def forget(self) -> list[str]:
        """Remove everything about this replication and target; return what was removed, in words."""
        removed = []
        present = self._present()
        with self._link.own_transaction():
            for table in TABLES:
                if table not in present:
                    continue
                statement = f"delete from {self._schema}.{table} where replication = %s and target = %s"
                count = self._link.execute(statement, self._owner)
                if count:
                    removed.append(f"{count} row(s) of {self._schema_name}.{table}")
        self._fences.clear()
        return removed


def _table(document: Any) -> TableSchema:
    return TableSchema.from_document(json.loads(document) if isinstance(document, str) else document)


def _fenced(partition: TopicPartition) -> TailraceError:
    return TailraceError(
        ErrorKind.INVARIANT,
        f"fenced: another applier has claimed partition {partition.partition} of {partition.topic}",
        remedy="none needed if another applier runs: this one must stop and give way",
    )
