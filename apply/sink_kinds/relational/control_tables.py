"""Tailrace's own tables in a relational target: offsets with their fences, barriers, and the versions of tables.

They stand at the same server as the rows, so that one transaction covers both: exactly once, Invariant 6. The offsets
of a partition carry a fence, a number that grows with each claim; an owner that lost its partition to another updates
no row any more and learns it before it can commit.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

from apply.sink import Arrival, Arriving, TopicPartition
from apply.sink_kinds.relational.link import RelationalLink
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName, TableSchema

TABLES = ("offsets", "barriers", "barriers_passed", "tables")
_BARRIER_KEEP_DAYS = 30
_ARRIVALS_MAX = 200
"""Barriers in one statement."""

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
    refers: Callable[[int], str]
    """Returns the condition that a document's foreign keys contain those of one of so many parameters, JSON arrays."""
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
    def announce(self, tables: Sequence[TableSchema]) -> None:
        """Wait until nobody writes these tables, and let nobody begin to who does not know these versions."""

    @abstractmethod
    def guard_table(self, name: TableName) -> int | None:
        """Let nobody alter a table until the transaction ends; return the version that it was prepared for."""

    # Offsets

    def claim(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Claim partitions; return the next offset of each that has one."""
        self.install()
        found: dict[TopicPartition, int] = {}
        with self._link.own_transaction():
            # Waits here for a former owner that has staged offsets and not yet committed.
            for partition, next_offset, fence in self._claim(sorted(partitions)):
                self._fences[partition] = fence
                if next_offset is not None:
                    found[partition] = next_offset
        return found

    @abstractmethod
    def _claim(self, partitions: Sequence[TopicPartition]) -> Iterable[tuple[TopicPartition, int | None, int]]:
        """Raise the fences of partitions, in order, or put their first ones; return next offsets and new fences."""

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

    def arrive(self, arrivals: Sequence[Arriving]) -> list[Arrival]:
        """Record arrivals in a transaction of their own; tell of each how far its barrier has come."""
        self.install()
        found: list[Arrival] = []
        for start in range(0, len(arrivals), _ARRIVALS_MAX):
            found += self._arrive(arrivals[start : start + _ARRIVALS_MAX])
        return found

    def _arrive(self, arrivals: Sequence[Arriving]) -> list[Arrival]:
        barriers = sorted({arriving.barrier for arriving in arrivals})
        where = f"where replication = %s and target = %s and barrier in ({', '.join(['%s'] * len(barriers))})"
        key = (*self._owner, *barriers)
        passed = {
            name for (name,) in self._link.rows(f"select barrier from {self._schema}.barriers_passed {where}", key)
        }
        left = [arriving for arriving in arrivals if arriving.barrier not in passed]
        if not left:
            return [Arrival.PASSED] * len(arrivals)
        with self._link.own_transaction():
            old = self.spelling.days_ago.format(days=_BARRIER_KEEP_DAYS)
            self._link.run(f"delete from {self._schema}.barriers where arrived_at < {old}")
            self._add("barriers", sorted({(*self._owner, one.barrier, *one.partition) for one in left}))
        counts = self._link.rows(
            f"select barrier, topic, count(*) from {self._schema}.barriers {where} group by barrier, topic", key
        )
        arrived = {(barrier, topic): count for barrier, topic, count in counts}

        def state(one: Arriving) -> Arrival:
            count = arrived.get((one.barrier, one.partition.topic), 0)
            return Arrival.of(count, one.partition_count, is_passed=one.barrier in passed)

        return [state(one) for one in arrivals]

    def pass_barriers(self, barriers: Collection[str]) -> set[str]:
        """Mark barriers as passed in the open transaction; return those that had not been."""
        return {str(row[-1]) for row in self._add("barriers_passed", [(*self._owner, one) for one in sorted(barriers)])}

    @abstractmethod
    def _add(self, table: str, rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        """Insert rows of these values and the time now, in order; return those whose keys were not there.

        Where another transaction has just inserted one, waits for that one's end.
        """

    # Tables

    def recorded(self, name: TableName) -> TableSchema | None:
        """Return the newest version of a table that was prepared here."""
        return self.recorded_all([name]).get(name)

    def recorded_all(self, names: Sequence[TableName]) -> dict[TableName, TableSchema]:
        """Return the newest versions of those tables that were prepared here."""
        if not names:
            return {}
        query = f"select document from {self._schema}.tables {_tables(names)} and document is not null"
        tables = [_table(document) for (document,) in self._link.rows(query, (*self._owner, *chain(*names)))]
        return {table.name: table for table in tables}

    @abstractmethod
    def record(self, tables: Sequence[TableSchema]) -> None:
        """Remember the versions of tables, which were announced before."""

    @abstractmethod
    def tell(self, event: str, name: TableName) -> None:
        """Say in the target's log, if it is to tell what is written here, that one of its tables is about to be
        `created`, `altered` or `dropped`: a definition alone may not say by whom.
        """

    def mark_loaded(self, *names: TableName, is_loaded: bool = True) -> None:
        """Remember that the full loads of tables are complete, or are no more."""
        self._link.execute(
            f"update {self._schema}.tables set loaded = %s, updated_at = {self.spelling.now} {_tables(names)}",
            (is_loaded, *self._owner, *chain(*names)),
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

    def loaded_referring_to(self, *names: TableName) -> list[TableSchema]:
        """Return the loaded tables with a foreign key to one of the tables of these names, themselves included."""
        documents = self._link.rows(
            f"select document from {self._schema}.tables where replication = %s and target = %s and loaded "
            f"and {self.spelling.refers(len(names))} order by source_schema, source_table",
            (*self._owner, *(json.dumps([{"target": list(name)}]) for name in names)),
        )
        tables = [_table(document) for (document,) in documents]
        return [table for table in tables if any(key.target in names for key in table.foreign_keys)]

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


def _tables(names: Sequence[TableName]) -> str:
    """Return the condition that a row is of one of these tables, by parameters."""
    some = ", ".join(["(%s, %s)"] * len(names))
    return f"where replication = %s and target = %s and (source_schema, source_table) in ({some})"


def _table(document: Any) -> TableSchema:
    return TableSchema.from_document(json.loads(document) if isinstance(document, str) else document)


def _fenced(partition: TopicPartition) -> TailraceError:
    return TailraceError(
        ErrorKind.INVARIANT,
        f"fenced: another applier has claimed partition {partition.partition} of {partition.topic}",
        remedy="none needed if another applier runs: this one must stop and give way",
    )
