"""The control tables as PostgreSQL writes them. Definitions are part of transactions, and locks are advisory."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any
from zlib import crc32

from apply.sink import TopicPartition
from apply.sink_kinds.relational.control_tables import RelationalControlTables, Spelling
from apply.sinks.postgresql.connection import Link
from apply.sinks.postgresql.names import literal, quoted
from schemas.loopback import APPLIED_DDL_PREFIX
from schemas.table import TableName, TableSchema

ADVISORY_CLASS = 0x7461696C
"""First key of the advisory locks ("tail" in ASCII): keeps them apart from other programs' locks."""
ADVISORY_DDL = 1
ADVISORY_TABLE_CLASS = 0x74626C65
"""First key of the locks of single tables ("tble" in ASCII)."""


class ControlTables(RelationalControlTables):
    """The control tables of one replication and target in a PostgreSQL database."""

    spelling = Spelling(
        quoted=quoted,
        literal=literal,
        owner="text",
        topic="text",
        barrier="text",
        name="text",
        time="timestamptz",
        document="jsonb not null",
        now="now()",
        days_ago="now() - interval '{days} days'",
        refers=lambda count: f"document->'foreign_keys' @> any(array[{', '.join(['%s::jsonb'] * count)}])",
    )
    _link: Link

    def _create_schema(self) -> str:
        return f"create schema if not exists {self._schema}"

    def _create(self) -> None:
        with self.alone():
            # `create schema if not exists` asks for the right to create even where the schema exists.
            exists = self._link.value("select to_regnamespace(%s) is not null", (self._schema,))
            self._link.run(*self.definitions()[1 if exists else 0 :])

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other appliers from changing definitions until the transaction ends."""
        with self._link.own_transaction():
            self._link.rows("select pg_advisory_xact_lock(%s, %s)", (ADVISORY_CLASS, ADVISORY_DDL))
            yield

    def announce(self, tables: Sequence[TableSchema]) -> None:
        """Wait until nobody writes these tables, and let nobody begin to, until the transaction ends."""
        numbers = sorted({self._number(table.name) for table in tables})
        self._link.rows(
            "select pg_advisory_xact_lock(%s, number) from unnest(%s::integer[]) number",
            (ADVISORY_TABLE_CLASS, numbers),
        )

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

    def _claim(self, partitions: Sequence[TopicPartition]) -> Iterable[tuple[TopicPartition, int | None, int]]:
        claimed = self._link.rows(
            f"insert into {self._schema}.offsets as o "
            "select %s, %s, p.topic, p.partition, null, 1, now() "
            "from unnest(%s::text[], %s::integer[]) with ordinality p (topic, partition, place) order by p.place "
            "on conflict (replication, target, topic, partition) "
            "do update set fence = o.fence + 1, updated_at = now() returning topic, partition, next_offset, fence",
            (*self._owner, [p.topic for p in partitions], [p.partition for p in partitions]),
        )
        return [(TopicPartition(topic, number), offset, fence) for topic, number, offset, fence in claimed]

    def _add(self, table: str, rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        row = f"({', '.join(['%s'] * len(rows[0]))}, now())"
        statement = f"insert into {self._schema}.{table} values {', '.join([row] * len(rows))}"
        added = self._link.rows(f"{statement} on conflict do nothing returning *", [*chain(*rows)])
        return [one[:-1] for one in added]

    def tell(self, event: str, name: TableName) -> None:
        """Put a message into the log, in the transaction of the definition that it stands before."""
        if self._link.marks:
            content = json.dumps({"event": event, "table": [*name]})
            self._link.rows("select pg_logical_emit_message(true, %s, %s)", (APPLIED_DDL_PREFIX, content))

    def record(self, tables: Sequence[TableSchema]) -> None:
        """Remember the versions of tables, unless newer ones are known."""
        row = "(%s, %s, %s, %s, %s, false, %s::jsonb, now())"
        values = [(*self._owner, *t.name, t.version, json.dumps(t.to_document())) for t in tables]
        self._link.execute(
            f"insert into {self._schema}.tables as t values {', '.join([row] * len(tables))} "
            "on conflict (replication, target, source_schema, source_table) do update "
            "set version = excluded.version, document = excluded.document, updated_at = now() "
            "where t.version <= excluded.version",
            [*chain(*values)],
        )
