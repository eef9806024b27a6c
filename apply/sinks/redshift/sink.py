"""The Redshift sink: a batch goes to the bucket as one file, from there to a staging table, and is merged set-wise.

Rows and the offsets that they reach are one transaction. Rows that no column of Redshift holds are found before
anything is staged, since COPY refuses a file as a whole.
"""

from __future__ import annotations

import gzip
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from apply import aws
from apply.sink import Arrival, Capabilities, Rejection, TableBatch, TopicPartition
from apply.sink_kinds.guarded import needs_key, rejection
from apply.sinks.redshift.connecting import open_link
from apply.sinks.redshift.control import ControlTables
from apply.sinks.redshift.statements import DELETED, WHOLE, TablePlan, copy, csv_text
from schemas.changes import UNCHANGED, Row
from schemas.endpoints.redshift import RedshiftTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.per_table import PerTable
from schemas.table import TableName, TableSchema


class RedshiftSink:
    """One database, as one appliers' process sees it."""

    capabilities = Capabilities(stores_offsets=True, truncates=True, alters=True, keyless=False)

    def __init__(self, replication: str, target_name: str, target: RedshiftTarget) -> None:
        self._target = target
        self._link = open_link(target, f"tailrace apply {replication} {target_name}")
        self._control = ControlTables(self._link, target.control_schema, replication, target_name)
        self._folder = "/".join(filter(None, (target.bucket_folder.strip("/"), replication, target_name)))
        self._client: Any = None
        self._files: list[str] = []
        """Keys of files that are read, or were to be."""
        self._there: dict[TableName, set[str]] = {}
        """The columns of tables at the target, in lower case."""
        self._plans = PerTable(self._make_plan)
        self._stage_count = 0

    # Partitions and offsets

    def load_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Claim partitions with a new fence each; return the offsets that this target has seen."""
        return self._control.claim(partitions)

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget partitions that were taken away."""
        self._control.release(partitions)

    def stage_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Write next offsets within the open transaction. Raises INVARIANT when fenced."""
        self._control.stage(offsets)

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """See `Sink`."""
        return self._control.arrive(barrier, partition, partition_count)

    def pass_barrier(self, barrier: str) -> bool:
        """See `Sink`."""
        return self._control.pass_barrier(barrier)

    def defer(self) -> None:
        """See `Sink`. Redshift holds nobody to a constraint."""

    def check(self) -> TailraceError | None:
        """See `Sink`."""
        return None

    def flush(self) -> None:
        """Commit; then the files that were read are not needed any more."""
        self._link.commit()
        self._remove_files()

    def rollback(self) -> None:
        """Undo everything since the last flush."""
        self._link.rollback()
        self._remove_files()

    def forget(self) -> list[str]:
        """Remove what is kept about the replication."""
        return self._control.forget()

    def close(self) -> None:
        """Close the connections; what is not flushed is undone."""
        self.rollback()
        self._link.close()
        if self._client is not None:
            self._client.close()
            self._client = None

    # Tables

    def prepare(self, table: TableSchema) -> None:
        """Make the table, or add the columns that it lacks. Raises TARGET_SCHEMA for a column of another type."""
        needs_key(table, "a row")
        name = self._target.name_of(table.name)
        plan = TablePlan(table, name)
        if not self._link.begun:
            self._control.install()
        with self._link.own_transaction():
            self._control.lock()
            there = self._columns(name)
            if not there:
                self._link.run(f"create schema if not exists {plan.schema}", doing="making the schema")
                self._link.run(plan.create(), doing=f"making the table {table.name}")
            for place, (column, type_) in enumerate(zip(table.columns, plan.types, strict=True)):
                known = there.get(column.name.lower())
                if known is not None and known != type_.definition:
                    raise _unlike(table, column.name, known, plan.sql, type_.definition)
                if there and known is None:
                    self._link.run(plan.add(place), doing=f"adding a column to {table.name}")
        self._there.setdefault(table.name, set()).update(there, (column.name.lower() for column in table.columns))
        self._plans = PerTable(self._make_plan)

    def is_empty(self, table: TableSchema) -> bool:
        """Tell whether the table has no row."""
        with self._link.own_transaction():
            return not self._link.rows(f"select 1 from {self._plans(table).sql} limit 1")

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Write a batch within the open transaction; return the rows that no column of Redshift holds."""
        plan, rejections = self._plans(batch.table), list[Rejection]()
        lines: list[list[str]] = []

        def add(kind: str, index: int, part: int, row: Row) -> None:
            try:
                lines.append(plan.line(part, row))
            except ValueError as error:
                # Of a text that is no JSON the parser quotes nothing but the place.
                rejections.append(rejection(batch.table, kind, index, str(error)))

        for i, key in enumerate(batch.deletes):
            add("deletes", i, DELETED, plan.row_of_key(key))
        for i, row in enumerate(batch.upserts):
            add("upserts", i, WHOLE, row)
        parts: dict[tuple[int, ...], int] = {}
        for i, row in enumerate(batch.updates):
            known = tuple(place for place, value in enumerate(row) if value is not UNCHANGED)
            add("updates", i, parts.setdefault(known, WHOLE + 1 + len(parts)), row)
        if lines:
            self._merge(plan, lines, deletes=bool(batch.deletes), wholes=bool(batch.upserts), parts=list(parts))
        return rejections

    def truncate(self, tables: Sequence[TableSchema]) -> None:
        """Empty tables within the open transaction: Redshift's own `truncate` would commit it."""
        for table in tables:
            self._link.run(f"delete from {self._plans(table).sql}", doing=f"emptying {table.name}")

    def drop(self, table: TableSchema) -> None:
        """Drop the table."""
        self._link.run(f"drop table if exists {self._plans(table).sql}", doing=f"dropping {table.name}")
        self._there.pop(table.name, None)

    def complete_load(self, table: TableSchema) -> None:
        """See `Sink`. Redshift has no indexes."""

    def _merge(
        self, plan: TablePlan, lines: list[list[str]], *, deletes: bool, wholes: bool, parts: list[tuple[int, ...]]
    ) -> None:
        target = self._target
        key = f"{self._folder}/{uuid.uuid4().hex}.csv.gz"
        self._put(key, gzip.compress(csv_text(lines).encode(), 1))
        self._stage_count += 1
        stage = f"tailrace_stage_{self._stage_count}"
        self._link.run(plan.create_stage(stage), doing="making a staging table")
        url = f"s3://{target.bucket_name}/{key}"
        self._link.copy(stage, key, copy(stage, url, target.copy_role_arn, target.bucket_region))
        for statement in plan.merge(stage, deletes, wholes, parts):
            self._link.run(statement, doing=f"merging rows of {plan.table.name}")
        self._link.run(f"drop table {stage}")

    def _put(self, key: str, content: bytes) -> None:
        try:
            if self._client is None:
                self._client = aws.client("s3", self._target)
            # Noted before it is there: whether a request that failed was carried out is not known.
            self._files.append(key)
            place = {"Bucket": self._target.bucket_name, "Key": key}
            self._client.put_object(**place, Body=content, **aws.encryption(self._target))
        except aws.AwsError as error:
            raise aws.classify(error, f"writing s3://{self._target.bucket_name}") from error

    def _remove_files(self) -> None:
        """Remove what was staged. What stays behind for want of a right, or by a crash, is a lifecycle rule's."""
        while self._files:
            key = self._files.pop()
            try:
                self._client.delete_object(Bucket=self._target.bucket_name, Key=key)
            except aws.AwsError:
                self._files.clear()

    def _make_plan(self, table: TableSchema) -> TablePlan:
        return TablePlan(table, self._target.name_of(table.name), self._there.get(table.name, ()))

    def _columns(self, name: TableName) -> dict[str, str]:
        """Return the types of a table's columns, by names in lower case; none if it is not there."""
        found = self._link.rows(
            "select column_name, data_type, character_maximum_length, numeric_precision, numeric_scale "
            "from information_schema.columns where lower(table_schema) = lower(%s) and lower(table_name) = lower(%s)",
            (name.schema, name.table),
            doing="looking at a table",
        )
        return {column.lower(): _told(*told) for column, *told in found}


def _told(data_type: str, length: int | None, precision: int | None, scale: int | None) -> str:
    """Return a type as its definition says it."""
    if data_type == "character varying":
        return f"{data_type}({length})"
    return f"numeric({precision},{scale})" if data_type == "numeric" else data_type


def _unlike(table: TableSchema, column: str, known: str, sql: str, wanted: str) -> TailraceError:
    return TailraceError(
        ErrorKind.TARGET_SCHEMA,
        f"the column {column} is {known} at the target, and should be {wanted}",
        table=str(table.name),
        remedy=f'alter table {sql} alter column "{column}" type {wanted}, or make the table anew',
    )
