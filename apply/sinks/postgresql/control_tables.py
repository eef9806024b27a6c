"""The control tables as PostgreSQL writes them. Definitions are part of transactions, and locks are advisory."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any
from zlib import crc32

from apply.frames.relational.control_tables import RelationalControlTables, Spelling
from apply.sink import TopicPartition
from apply.sinks.postgresql.connection import Link
from apply.sinks.postgresql.names import literal, quoted
from schemas.changes import APPLIED_DDL_PREFIX
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
        refers="document->'foreign_keys' @> %s::jsonb",
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

    def announce(self, table: TableSchema) -> None:
        """Wait until nobody writes a table, and let nobody begin to, until the transaction ends."""
        self._link.rows("select pg_advisory_xact_lock(%s, %s)", (ADVISORY_TABLE_CLASS, self._number(table.name)))

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

    def _claim_one(self, partition: TopicPartition) -> tuple[int | None, int]:
        ((next_offset, fence),) = self._link.rows(
            f"insert into {self._schema}.offsets as o values (%s, %s, %s, %s, null, 1, now()) "
            "on conflict (replication, target, topic, partition) "
            "do update set fence = o.fence + 1, updated_at = now() returning next_offset, fence",
            (*self._owner, *partition),
        )
        return next_offset, fence

    def _add(self, table: str, values: Sequence[Any]) -> bool:
        places = ", ".join(["%s"] * len(values))
        statement = f"insert into {self._schema}.{table} values ({places}, now()) on conflict do nothing"
        return self._link.execute(statement, values) > 0

    def tell(self, event: str, name: TableName) -> None:
        """Put a message into the log, in the transaction of the definition that it stands before."""
        if self._link.marks:
            content = json.dumps({"event": event, "table": [*name]})
            self._link.rows("select pg_logical_emit_message(true, %s, %s)", (APPLIED_DDL_PREFIX, content))

    def record(self, table: TableSchema) -> None:
        """Remember the version of a table, unless a newer one is known."""
        self._link.execute(
            f"insert into {self._schema}.tables as t values (%s, %s, %s, %s, %s, false, %s::jsonb, now()) "
            "on conflict (replication, target, source_schema, source_table) do update "
            "set version = excluded.version, document = excluded.document, updated_at = now() "
            "where t.version <= excluded.version",
            (*self._owner, *table.name, table.version, json.dumps(table.to_document())),
        )
