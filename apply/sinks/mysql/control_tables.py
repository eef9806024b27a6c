"""The control tables as MySQL and MariaDB write them.

A table's definition changes outside of any transaction: it commits by itself. So its new version is announced first,
in the row that every writer of the table keeps locked for reading until its transaction ends; whoever comes later
finds a version that it does not know, and waits until it does.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pymysql

from apply.sink import TopicPartition
from apply.sink_kinds.relational.control_tables import ONE_TABLE, RelationalControlTables, Spelling
from apply.sinks.mysql.connection import Link
from apply.sinks.mysql.errors import DUPLICATE, code_of
from apply.sinks.mysql.names import STORAGE, literal, qualified, quoted
from schemas.errors import ErrorKind, TailraceError
from schemas.loopback import APPLIED_DROP_COMMENT
from schemas.table import TableName, TableSchema

_REFERS = "json_contains(document, %s, '$.foreign_keys')"


class ControlTables(RelationalControlTables):
    """The control tables of one replication and target at a MySQL or MariaDB server."""

    spelling = Spelling(
        quoted=quoted,
        literal=literal,
        # An index holds 3072 bytes, and a character may take four.
        owner="varchar(100)",
        topic="varchar(249)",
        barrier="varchar(300)",
        name="varchar(64)",
        time="datetime(6)",
        document="longtext null",
        now="utc_timestamp(6)",
        days_ago="utc_timestamp(6) - interval {days} day",
        refers=lambda count: f"({' or '.join([_REFERS] * count)})",
        options=f" {STORAGE} default character set utf8mb4 collate utf8mb4_bin",
    )
    _link: Link

    @property
    def probe(self) -> str:
        """The name of a temporary table to try something with. In this database the user may make such ones."""
        return f"{self._schema}.probe"

    def _create_schema(self) -> str:
        return f"create database if not exists {self._schema}"

    def _create(self) -> None:
        # Over a connection of its own: a definition would commit what is open.
        other = self._link.twin()
        try:
            exists = other.value(
                "select count(*) from information_schema.schemata where schema_name = %s", (self._schema_name,)
            )
            for statement in self.definitions()[1 if exists else 0 :]:
                other.run(statement)
        finally:
            other.discard()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other appliers from changing tables. Raises TARGET_THROTTLED where another one takes too long.

        The lock is the session's. Where the server ends that, another applier may be at it at once: then the block ends
        with TARGET_CONNECTION before it changes anything more.
        """
        name = "tailrace " + hashlib.sha256(self._schema_name.encode()).hexdigest()[:32]
        with self._link.held():
            if not self._link.value("select get_lock(%s, %s)", (name, self._link.lock_timeout_s)):
                raise TailraceError(ErrorKind.TARGET_THROTTLED, "another applier is changing tables at the target")
            try:
                yield
            finally:
                with contextlib.suppress(pymysql.Error, TailraceError):
                    self._link.rows("select release_lock(%s)", (name,))

    def announce(self, tables: Sequence[TableSchema]) -> None:
        """Say durably that tables are being brought to versions. Waits for those that are writing them."""
        for table in tables:
            self._link.execute(
                f"insert into {self._schema}.tables values (%s, %s, %s, %s, %s, false, null, utc_timestamp(6)) "
                "on duplicate key update version = greatest(version, %s), updated_at = utc_timestamp(6)",
                (*self._owner, *table.name, table.version, table.version),
            )

    def guard_table(self, name: TableName) -> int | None:
        """Let nobody alter a table until the transaction ends; return the version that it was announced for."""
        found = self._link.value(
            f"select version from {self._schema}.tables {ONE_TABLE} lock in share mode", (*self._owner, *name)
        )
        return None if found is None else int(found)

    def _claim(self, partitions: Sequence[TopicPartition]) -> Iterator[tuple[TopicPartition, int | None, int]]:
        for partition in partitions:
            yield partition, *self._claim_one(partition)

    def _claim_one(self, partition: TopicPartition) -> tuple[int | None, int]:
        place = (*self._owner, *partition)
        self._link.execute(
            f"insert into {self._schema}.offsets values (%s, %s, %s, %s, null, 1, utc_timestamp(6)) "
            "on duplicate key update fence = fence + 1, updated_at = utc_timestamp(6)",
            place,
        )
        ((next_offset, fence),) = self._link.rows(
            f"select next_offset, fence from {self._schema}.offsets where replication = %s and target = %s "
            "and topic = %s and `partition` = %s for update",
            place,
        )
        return next_offset, fence

    def _add(self, table: str, rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        return [row for row in rows if self._add_one(table, row)]

    def _add_one(self, table: str, values: Sequence[Any]) -> bool:
        places = ", ".join(["%s"] * len(values))
        try:
            self._link.execute(f"insert into {self._schema}.{table} values ({places}, utc_timestamp(6))", values)
        except pymysql.Error as error:
            if code_of(error) not in DUPLICATE:
                raise
            return False
        return True

    def tell(self, event: str, name: TableName) -> None:
        """Log a statement that changes nothing before a table is dropped: the server writes the next one anew, without
        its comment. Other definitions are logged as they stand (`Link.define`).
        """
        if event != "dropped" or not self._link.marks:
            return
        where = f"where table_schema = {literal(name.schema)} and table_name = {literal(name.table)}"
        kind = self._link.value(f"select table_type from information_schema.tables {where}")
        if kind == "BASE TABLE":
            self._link.run(f"{APPLIED_DROP_COMMENT} alter table {qualified(name)} comment = ''")

    def mark_loaded(self, *names: TableName, is_loaded: bool = True) -> None:
        """Remember that the full loads of tables are complete, or are no more."""
        # One by one: a writer holds rows of tables in another order, and MariaDB looks through all for a pair of names.
        for name in names:
            self._link.execute(
                f"update {self._schema}.tables set loaded = %s, updated_at = utc_timestamp(6) {ONE_TABLE}",
                (is_loaded, *self._owner, *name),
            )

    def record(self, tables: Sequence[TableSchema]) -> None:
        """Remember the versions of tables, which were announced before."""
        for table in tables:
            self._link.execute(
                f"update {self._schema}.tables set document = %s, updated_at = utc_timestamp(6) {ONE_TABLE}",
                (json.dumps(table.to_document()), *self._owner, *table.name),
            )
