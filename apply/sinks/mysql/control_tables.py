"""Tailrace's own tables in the target: offsets with their fences, barriers, and the versions of tables.

They stand at the same server as the rows, so that one transaction covers both: exactly once, Invariant 6. The offsets
of a partition carry a fence, a number that grows with each claim; an owner that lost its partition to another updates
no row any more and learns it before it can commit.

A table's definition changes outside of any transaction: it commits by itself. So its new version is announced first,
in the row that every writer of the table keeps locked for reading until its transaction ends; whoever comes later
finds a version that it does not know, and waits until it does.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

import pymysql

from apply.sink import Arrival, TopicPartition
from apply.sinks.mysql.connection import Link
from apply.sinks.mysql.errors import DUPLICATE, code_of
from apply.sinks.mysql.names import literal, quoted
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName, TableSchema

TABLES = ("offsets", "barriers", "barriers_passed", "tables")
_BARRIER_KEEP_DAYS = 30
_OPTIONS = "engine = InnoDB default character set utf8mb4 collate utf8mb4_bin"


class ControlTables:
    """The control tables of one replication and target. Driver errors pass through."""

    def __init__(self, link: Link, schema: str, replication: str, target: str) -> None:
        self._link = link
        self._schema_name = schema
        self._schema = quoted(schema)
        self._owner = (replication, target)
        self._fences: dict[TopicPartition, int] = {}
        self._installed = False

    def definitions(self) -> list[str]:
        """Return the statements that make the tables; an operator may run them instead of us."""
        # An index holds 3072 bytes, and a character may take four.
        owner = "replication varchar(100) not null, target varchar(100) not null"
        partition = "topic varchar(249) not null, `partition` int not null"
        barrier = "barrier varchar(300) not null"
        columns = {
            "offsets": f"{owner}, {partition}, next_offset bigint null, fence bigint not null, "
            "updated_at datetime(6) not null, primary key (replication, target, topic, `partition`)",
            "barriers": f"{owner}, {barrier}, {partition}, arrived_at datetime(6) not null, "
            "primary key (replication, target, barrier, topic, `partition`)",
            "barriers_passed": f"{owner}, {barrier}, passed_at datetime(6) not null, "
            "primary key (replication, target, barrier)",
            "tables": f"{owner}, source_schema varchar(64) not null, source_table varchar(64) not null, "
            "version int not null, loaded boolean not null default false, document longtext null, "
            "updated_at datetime(6) not null, primary key (replication, target, source_schema, source_table)",
        }
        tables = [
            f"create table if not exists {self._schema}.{name} ({text}) {_OPTIONS}" for name, text in columns.items()
        ]
        return [f"create database if not exists {self._schema}", *tables]

    def install(self) -> None:
        """Make the tables where they are missing. Needs no right to create where they are there."""
        if self._installed:
            return
        if self.count_installed() < len(TABLES):
            other = self._link.twin()
            try:
                exists = other.value(
                    "select count(*) from information_schema.schemata where schema_name = %s", (self._schema_name,)
                )
                for statement in self.definitions()[1 if exists else 0 :]:
                    other.run(statement)
            finally:
                other.discard()
        self._installed = True

    def count_installed(self) -> int:
        """Count our tables that are there."""
        listing = ", ".join(literal(name) for name in TABLES)
        return int(
            self._link.value(
                "select count(*) from information_schema.tables "
                f"where table_schema = {literal(self._schema_name)} and table_name in ({listing})"
            )
        )

    @contextlib.contextmanager
    def alone(self, timeout_s: int) -> Iterator[None]:
        """Keep other appliers from changing tables. Raises TARGET_THROTTLED where another one takes too long."""
        name = "tailrace " + hashlib.sha256(self._schema_name.encode()).hexdigest()[:32]
        if not self._link.value("select get_lock(%s, %s)", (name, timeout_s)):
            raise TailraceError(ErrorKind.TARGET_THROTTLED, "another applier is changing tables at the target")
        try:
            yield
        finally:
            with contextlib.suppress(pymysql.Error, TailraceError):
                self._link.rows("select release_lock(%s)", (name,))

    # Offsets

    def claim(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Claim partitions; return the next offset of each that has one."""
        self.install()
        found: dict[TopicPartition, int] = {}
        with self._link.own_transaction():
            for partition in sorted(partitions):
                # Waits here for a former owner that has staged offsets and not yet committed.
                self._link.execute(
                    f"insert into {self._schema}.offsets values (%s, %s, %s, %s, null, 1, utc_timestamp(6)) "
                    "on duplicate key update fence = fence + 1, updated_at = utc_timestamp(6)",
                    (*self._owner, *partition),
                )
                ((next_offset, fence),) = self._link.rows(
                    f"select next_offset, fence from {self._schema}.offsets where replication = %s and target = %s "
                    "and topic = %s and `partition` = %s for update",
                    (*self._owner, *partition),
                )
                self._fences[partition] = fence
                if next_offset is not None:
                    found[partition] = next_offset
        return found

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget the fences of partitions."""
        for partition in partitions:
            self._fences.pop(partition, None)

    def stage(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Write next offsets in the open transaction. Raises INVARIANT when another owner has claimed one of them."""
        cases, places = [], []
        for partition, next_offset in sorted(offsets.items()):
            fence = self._fences.get(partition)
            if fence is None:
                raise _fenced(partition)
            place = f"topic = {literal(partition.topic)} and `partition` = {partition.partition}"
            cases.append(f"when {place} then {next_offset}")
            places.append(f"({place} and fence = {fence})")
        if not cases:
            return
        replication, target = map(literal, self._owner)
        written = self._link.run(
            f"update {self._schema}.offsets set next_offset = case {' '.join(cases)} end, "
            f"updated_at = utc_timestamp(6) where replication = {replication} and target = {target} "
            f"and ({' or '.join(places)})"
        )
        if written != len(cases):
            raise _fenced(next(iter(offsets)))

    # Barriers

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """Record an arrival in a transaction of its own; tell how far the barrier has come."""
        self.install()
        s, key = self._schema, (*self._owner, barrier)
        where = "where replication = %s and target = %s and barrier = %s"
        if self._link.rows(f"select 1 from {s}.barriers_passed {where}", key):
            return Arrival.PASSED
        with self._link.own_transaction():
            self._link.run(
                f"delete from {s}.barriers where arrived_at < utc_timestamp(6) - interval {_BARRIER_KEEP_DAYS} day"
            )
            self._link.execute(
                f"insert into {s}.barriers values (%s, %s, %s, %s, %s, utc_timestamp(6)) "
                "on duplicate key update topic = topic",
                (*key, *partition),
            )
        arrived = self._link.value(f"select count(*) from {s}.barriers {where} and topic = %s", (*key, partition.topic))
        return Arrival.READY if arrived >= partition_count else Arrival.WAITING

    def pass_barrier(self, barrier: str) -> bool:
        """Mark a barrier as passed in the open transaction; False if it has been passed."""
        # A second caller waits at the key for the first one's end.
        try:
            self._link.execute(
                f"insert into {self._schema}.barriers_passed values (%s, %s, %s, utc_timestamp(6))",
                (*self._owner, barrier),
            )
        except pymysql.Error as error:
            if code_of(error) not in DUPLICATE:
                raise
            return False
        return True

    # Tables

    _ONE = "where replication = %s and target = %s and source_schema = %s and source_table = %s"

    def guard_table(self, name: TableName) -> int | None:
        """Let nobody alter a table until the transaction ends; return the newest version that was announced."""
        found = self._link.value(
            f"select version from {self._schema}.tables {self._ONE} lock in share mode", (*self._owner, *name)
        )
        return None if found is None else int(found)

    def announce(self, table: TableSchema) -> None:
        """Say durably that a table is being brought to a version. Waits for those that are writing it."""
        self._link.execute(
            f"insert into {self._schema}.tables values (%s, %s, %s, %s, %s, false, null, utc_timestamp(6)) "
            "on duplicate key update version = greatest(version, %s), updated_at = utc_timestamp(6)",
            (*self._owner, *table.name, table.version, table.version),
        )

    def recorded(self, name: TableName) -> TableSchema | None:
        """Return the newest version of a table that was prepared here."""
        document = self._link.value(f"select document from {self._schema}.tables {self._ONE}", (*self._owner, *name))
        return TableSchema.from_document(json.loads(document)) if document is not None else None

    def record(self, table: TableSchema) -> None:
        """Remember the version of a table, which was announced before."""
        self._link.execute(
            f"update {self._schema}.tables set document = %s, updated_at = utc_timestamp(6) {self._ONE}",
            (json.dumps(table.to_document()), *self._owner, *table.name),
        )

    def mark_loaded(self, name: TableName, *, is_loaded: bool = True) -> None:
        """Remember that a table's full load is complete, or is no more."""
        self._link.execute(
            f"update {self._schema}.tables set loaded = %s, updated_at = utc_timestamp(6) {self._ONE}",
            (is_loaded, *self._owner, *name),
        )

    def loaded(self) -> dict[TableName, TableSchema]:
        """Return the tables whose full load is complete."""
        documents = self._link.rows(
            f"select document from {self._schema}.tables where replication = %s and target = %s and loaded "
            "and document is not null order by source_schema, source_table",
            self._owner,
        )
        tables = [TableSchema.from_document(json.loads(document)) for (document,) in documents]
        return {table.name: table for table in tables}

    def names(self) -> list[TableName]:
        """Return the names of all tables that were prepared here."""
        found = self._link.rows(
            f"select source_schema, source_table from {self._schema}.tables where replication = %s and target = %s "
            "order by 1, 2",
            self._owner,
        )
        return [TableName(*name) for name in found]

    def forget_table(self, name: TableName) -> None:
        """Forget a dropped table."""
        self._link.execute(f"delete from {self._schema}.tables {self._ONE}", (*self._owner, *name))

    def forget(self) -> list[str]:
        """Remove everything about this replication and target; return what was removed, in words."""
        removed = []
        if self.count_installed() == len(TABLES):
            with self._link.own_transaction():
                for table in TABLES:
                    count = self._link.execute(
                        f"delete from {self._schema}.{table} where replication = %s and target = %s", self._owner
                    )
                    if count:
                        removed.append(f"{count} row(s) of {self._schema_name}.{table}")
        self._fences.clear()
        return removed


def _fenced(partition: TopicPartition) -> TailraceError:
    return TailraceError(
        ErrorKind.INVARIANT,
        f"fenced: another applier has claimed partition {partition.partition} of {partition.topic}",
        remedy="none needed if another applier runs: this one must stop and give way",
    )
