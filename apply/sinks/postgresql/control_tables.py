"""Tailrace's own tables in the target: offsets with their fences, barriers, and the versions of tables.

They stand in the same database as the rows, so that one transaction covers both: exactly once, Invariant 6. The
offsets of a partition carry a fence, a number that grows with each claim; an owner that lost its partition to another
updates no row any more and learns it before it can commit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

from apply.sink import Arrival, TopicPartition
from apply.sinks.postgresql.connection import Link
from apply.sinks.postgresql.names import literal, quoted
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName, TableSchema

ADVISORY_CLASS = 0x7461696C
"""First key of the advisory locks ("tail" in ASCII): keeps them apart from other programs' locks."""
ADVISORY_DDL = 1
ADVISORY_TABLE_CLASS = 0x74626C65
"""First key of the locks of single tables ("tble" in ASCII)."""

_BARRIER_KEEP = "30 days"


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
        owner = "replication text, target text"
        columns = {
            "offsets": f"{owner}, topic text, partition integer, next_offset bigint, fence bigint not null, "
            "updated_at timestamptz not null, primary key (replication, target, topic, partition)",
            "barriers": f"{owner}, barrier text, topic text, partition integer, arrived_at timestamptz not null, "
            "primary key (replication, target, barrier, topic, partition)",
            "barriers_passed": f"{owner}, barrier text, passed_at timestamptz not null, "
            "primary key (replication, target, barrier)",
            "tables": f"{owner}, source_schema text, source_table text, version integer not null, "
            "loaded boolean not null default false, document jsonb not null, updated_at timestamptz not null, "
            "primary key (replication, target, source_schema, source_table)",
        }
        tables = [f"create table if not exists {self._schema}.{name} ({text})" for name, text in columns.items()]
        return [f"create schema if not exists {self._schema}", *tables]

    def install(self) -> None:
        """Make the tables where they are missing. Needs no right to create where they are there."""
        if self._installed:
            return
        names = ("offsets", "barriers", "barriers_passed", "tables")
        listing = ", ".join(literal(name) for name in names)
        count = (
            "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace "
            f"where n.nspname = %s and c.relname in ({listing})"
        )
        if self._link.value(count, (self._schema_name,)) < len(names):
            with self._link.own_transaction():
                self.lock_ddl()
                # `create schema if not exists` asks for the right to create even where the schema exists.
                exists = self._link.value("select to_regnamespace(%s) is not null", (self._schema,))
                self._link.run(";".join(self.definitions()[1 if exists else 0 :]))
        self._installed = True

    def lock_ddl(self) -> None:
        """Keep other appliers from changing tables until the transaction ends."""
        self._link.rows("select pg_advisory_xact_lock(%s, %s)", (ADVISORY_CLASS, ADVISORY_DDL))

    def lock_table(self, name: TableName) -> None:
        """Wait until nobody writes a table, and let nobody begin to, until the transaction ends."""
        self._link.rows("select pg_advisory_xact_lock(%s, %s)", (ADVISORY_TABLE_CLASS, self._number(name)))

    def guard_table(self, name: TableName) -> int | None:
        """Let nobody alter a table until the transaction ends; return the version that it was prepared for."""
        replication, target = map(literal, self._owner)
        # Two statements: the second one sees what was committed while the first one waited.
        cursor = self._link.connection.execute(
            f"select pg_advisory_xact_lock_shared({ADVISORY_TABLE_CLASS}, {self._number(name)}); "
            f"select version from {self._schema}.tables where replication = {replication} and target = {target} "
            f"and source_schema = {literal(name.schema)} and source_table = {literal(name.table)}"
        )
        cursor.nextset()
        found = cursor.fetchone()
        return None if found is None else int(found[0])

    def _number(self, name: TableName) -> int:
        # Two tables of one number only wait for each other.
        return crc32(json.dumps([*self._owner, *name]).encode()) >> 1

    # Offsets

    def claim(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Claim partitions; return the next offset of each that has one."""
        self.install()
        found: dict[TopicPartition, int] = {}
        with self._link.own_transaction():
            for partition in sorted(partitions):
                # Waits here for a former owner that has staged offsets and not yet committed.
                ((next_offset, fence),) = self._link.rows(
                    f"insert into {self._schema}.offsets as o values (%s, %s, %s, %s, null, 1, now()) "
                    "on conflict (replication, target, topic, partition) "
                    "do update set fence = o.fence + 1, updated_at = now() returning next_offset, fence",
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
        values = []
        for partition, next_offset in sorted(offsets.items()):
            fence = self._fences.get(partition)
            if fence is None:
                raise _fenced(partition)
            values.append(f"({literal(partition.topic)}, {partition.partition}, {next_offset}::bigint, {fence})")
        if not values:
            return
        replication, target = map(literal, self._owner)
        written = self._link.run(
            f"update {self._schema}.offsets o set next_offset = v.next_offset, updated_at = now() "
            f"from (values {', '.join(values)}) v (topic, partition, next_offset, fence) "
            f"where o.replication = {replication} and o.target = {target} and o.topic = v.topic "
            "and o.partition = v.partition and o.fence = v.fence"
        )
        if written != len(values):
            raise _fenced(next(iter(offsets)))

    # Barriers

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """Record an arrival in a transaction of its own; tell how far the barrier has come."""
        self.install()
        s, key = self._schema, (*self._owner, barrier)
        where = "where replication = %s and target = %s and barrier = %s"
        with self._link.own_transaction():
            if self._link.rows(f"select from {s}.barriers_passed {where}", key):
                return Arrival.PASSED
            self._link.run(f"delete from {s}.barriers where arrived_at < now() - interval '{_BARRIER_KEEP}'")
            self._link.connection.execute(
                f"insert into {s}.barriers values (%s, %s, %s, %s, %s, now()) on conflict do nothing",
                (*key, *partition),
            )
        arrived = self._link.value(f"select count(*) from {s}.barriers {where} and topic = %s", (*key, partition.topic))
        return Arrival.READY if arrived >= partition_count else Arrival.WAITING

    def pass_barrier(self, barrier: str) -> bool:
        """Mark a barrier as passed in the open transaction; False if it has been passed."""
        # A second caller waits at the unique index for the first one's end.
        return bool(
            self._link.rows(
                f"insert into {self._schema}.barriers_passed values (%s, %s, %s, now()) on conflict do nothing "
                "returning true",
                (*self._owner, barrier),
            )
        )

    # Tables

    def recorded(self, name: TableName) -> TableSchema | None:
        """Return the newest version of a table that was prepared here."""
        document = self._link.value(
            f"select document from {self._schema}.tables where replication = %s and target = %s "
            "and source_schema = %s and source_table = %s",
            (*self._owner, *name),
        )
        return TableSchema.from_document(_document(document)) if document is not None else None

    def record(self, table: TableSchema) -> None:
        """Remember the version of a table, unless a newer one is known."""
        self._link.rows(
            f"insert into {self._schema}.tables as t values (%s, %s, %s, %s, %s, false, %s::jsonb, now()) "
            "on conflict (replication, target, source_schema, source_table) do update "
            "set version = excluded.version, document = excluded.document, updated_at = now() "
            "where t.version <= excluded.version returning true",
            (*self._owner, *table.name, table.version, json.dumps(table.to_document())),
        )

    def mark_loaded(self, name: TableName, *, is_loaded: bool = True) -> None:
        """Remember that a table's full load is complete, or is no more."""
        self._link.rows(
            f"update {self._schema}.tables set loaded = %s, updated_at = now() where replication = %s "
            "and target = %s and source_schema = %s and source_table = %s returning true",
            (is_loaded, *self._owner, *name),
        )

    def loaded_names(self) -> set[TableName]:
        """Return the names of the tables whose full load is complete."""
        names = self._link.rows(
            f"select source_schema, source_table from {self._schema}.tables "
            "where replication = %s and target = %s and loaded",
            self._owner,
        )
        return {TableName(*name) for name in names}

    def loaded_referring_to(self, name: TableName) -> list[TableSchema]:
        """Return the loaded tables with a foreign key to the table of this name, itself included."""
        documents = self._link.rows(
            f"select document from {self._schema}.tables where replication = %s and target = %s and loaded "
            "and document->'foreign_keys' @> %s::jsonb order by source_schema, source_table",
            (*self._owner, json.dumps([{"target": list(name)}])),
        )
        return [TableSchema.from_document(_document(document)) for (document,) in documents]

    def forget_table(self, name: TableName) -> None:
        """Forget a dropped table."""
        self._link.rows(
            f"delete from {self._schema}.tables where replication = %s and target = %s and source_schema = %s "
            "and source_table = %s returning true",
            (*self._owner, *name),
        )

    def forget(self) -> list[str]:
        """Remove everything about this replication and target; return what was removed, in words."""
        removed = []
        with self._link.own_transaction():
            for table in ("offsets", "barriers", "barriers_passed", "tables"):
                if self._link.value("select to_regclass(%s) is null", (f"{self._schema}.{table}",)):
                    continue
                rows = self._link.rows(
                    f"delete from {self._schema}.{table} where replication = %s and target = %s returning true",
                    self._owner,
                )
                if rows:
                    removed.append(f"{len(rows)} row(s) of {self._schema_name}.{table}")
        self._fences.clear()
        return removed


def _document(value: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
    return document


def _fenced(partition: TopicPartition) -> TailraceError:
    return TailraceError(
        ErrorKind.INVARIANT,
        f"fenced: another applier has claimed partition {partition.partition} of {partition.topic}",
        remedy="none needed if another applier runs: this one must stop and give way",
    )
