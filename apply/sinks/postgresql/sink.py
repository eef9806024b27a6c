"""The PostgreSQL sink: `apply.sink.Sink` over one connection, rows and offsets in one transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import psycopg

from apply.sink import Arrival, Capabilities, Rejection, TableBatch, TopicPartition
from apply.sinks.postgresql.completion import Completion
from apply.sinks.postgresql.connection import Link
from apply.sinks.postgresql.control_tables import ControlTables
from apply.sinks.postgresql.errors import FEATURE_NOT_SUPPORTED, OBJECT_IN_USE, classify, is_row_error
from apply.sinks.postgresql.names import qualified
from apply.sinks.postgresql.preparation import Preparation
from apply.sinks.postgresql.stages import Stages
from apply.sinks.postgresql.statements import TablePlan
from apply.sinks.postgresql.writer import Writer
from schemas.endpoints import PostgresqlTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName, TableSchema

_PLANS_MAX = 4096


class PostgresqlSink:
    """One target database, as one appliers' process sees it."""

    capabilities = Capabilities(stores_offsets=True, truncates=True, alters=True, keyless=True)

    def __init__(self, replication: str, target_name: str, target: PostgresqlTarget, *, defers: bool = False) -> None:
        """With `defers` foreign keys at the target are, or are made, such as can wait until a transaction's end."""
        self._link = Link(target, f"tailrace apply {replication} {target_name}")
        self._control = ControlTables(self._link, target.control_schema, replication, target_name)
        self._preparation = Preparation(self._link, self._control, target.schema_map, defers=defers)
        self._completion = Completion(
            self._link, self._control, self._preparation, foreign_keys_act=target.disable_triggers, defers=defers
        )
        self._triggers_disabled = target.disable_triggers
        self._stages = Stages(self._link)
        self._writer = Writer(self._stages)
        self._prepared: dict[TableName, int] = {}
        """The newest version of each table that this process has prepared: rows come in its names."""
        self._guarded: set[TableName] = set()
        """Tables that nobody else can alter until the open transaction ends."""
        self._plans: dict[tuple[TableName, int, tuple[str, ...]], TablePlan] = {}

    def load_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Claim partitions with a new fence each; return the offsets that this target has seen."""
        with self._classified("claiming partitions"):
            return self._control.claim(partitions)

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget partitions that were taken away."""
        self._control.release(partitions)

    def prepare(self, table: TableSchema) -> None:
        """Make or alter the table. Does nothing for a version older than the one that was prepared before."""
        self._forget_plans(table.name)
        with self._classified("preparing the table", table), self._none_pending(table):
            self._preparation.prepare(table)
        self._prepared[table.name] = max(table.version, self._prepared.get(table.name, 0))

    def is_empty(self, table: TableSchema) -> bool:
        """Tell whether the target's table has no row."""
        name = qualified(self._preparation.target_name(table.name))
        with self._classified("looking for rows", table):
            return bool(self._link.value(f"select not exists (select from {name})"))

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Write a batch within the open transaction; return the rows that the target refuses."""
        with self._classified("writing rows", batch.table):
            self._guard(batch.table)
            try:
                return self._writer.write(self._plan(batch.table), batch)
            except TailraceError as error:
                if error.kind is not ErrorKind.TARGET_SCHEMA:
                    raise
            # Another applier may have altered the table since the plan was made: once more with a new plan.
            self._forget_plans(batch.table.name)
            return self._writer.write(self._plan(batch.table), batch)

    def truncate(self, tables: Sequence[TableSchema]) -> None:
        """Empty tables within the open transaction. Never cascades: the source names every table that it emptied.

        Raises ROW_CONFLICT while rows of other tables refer to these.
        """
        names = [qualified(self._preparation.target_name(table.name)) for table in tables]
        with self._classified("truncating", tables[0]), self._none_pending(tables[0]):
            self._link.begin()
            self._link.run("savepoint tailrace_truncate")
            try:
                self._link.run(f"truncate table {', '.join(names)}")
            except psycopg.Error as error:
                if error.sqlstate not in {FEATURE_NOT_SUPPORTED, OBJECT_IN_USE}:
                    raise
                # A foreign key refers to one of them: `truncate` does not ask whether it has rows, `delete` does. Nor
                # does it work while deferred constraints are still to be asked.
                self._link.run("rollback to savepoint tailrace_truncate")
                for name in names:
                    self._link.run(f"delete from {name}")
            self._link.run("release savepoint tailrace_truncate")

    def drop(self, table: TableSchema) -> None:
        """Drop a table. Raises TARGET_SCHEMA if something else at the target depends on it."""
        self._forget_plans(table.name)
        name = qualified(self._preparation.target_name(table.name))
        with self._classified("dropping the table", table):
            self._control.install()
            with self._link.own_transaction():
                self._control.lock_ddl()
                self._link.run(f"drop table if exists {name}")
                self._control.forget_table(table.name)

    def complete_load(self, table: TableSchema) -> None:
        """Make secondary indexes and foreign keys, and move identities past the loaded values."""
        self._forget_plans(table.name)
        with self._classified("completing the load", table):
            self._completion.complete(table)

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """Record that `partition` stands at `barrier`; tell how far the barrier has come."""
        with self._classified("waiting at a barrier"):
            return self._control.arrive(barrier, partition, partition_count)

    def pass_barrier(self, barrier: str) -> bool:
        """Mark a barrier as passed within the open transaction; False if somebody has passed it already."""
        with self._classified("passing a barrier"):
            self._control.install()
            self._link.begin()
            return self._control.pass_barrier(barrier)

    def defer(self) -> None:
        """Let deferrable constraints hold at `check` only."""
        with self._classified("deferring constraints"):
            self._link.defer()

    def check(self) -> TailraceError | None:
        """Ask deferred constraints; return what one of them says."""
        if not (self._link.begun and self._link.deferring):
            return None
        try:
            self._link.run("set constraints all immediate")
        except psycopg.Error as error:
            refusal = classify(error, "asking deferred constraints")
            if not is_row_error(error):
                raise refusal from error
            return refusal
        return None

    def stage_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Write next offsets within the open transaction. Raises INVARIANT when fenced."""
        with self._classified("storing offsets"):
            self._control.install()
            self._link.begin()
            self._control.stage(offsets)

    def flush(self) -> None:
        """Commit. Invariant 3: rows and the offsets that they reach become durable together."""
        with self._classified("committing"):
            self._link.commit()
        self._guarded.clear()
        self._stages.committed()

    def rollback(self) -> None:
        """Undo everything since the last flush."""
        self._guarded.clear()
        self._link.rollback()
        self._stages.rolled_back()

    def forget(self) -> list[str]:
        """Remove this replication's offsets, barriers and table versions; return what was removed, in words."""
        with self._classified("forgetting the replication"):
            return self._control.forget()

    def close(self) -> None:
        """Close the connection. May be called twice."""
        self._link.discard()

    def _guard(self, table: TableSchema) -> None:
        """Keep others from altering a table until the transaction ends.

        Raises TARGET_THROTTLED if another applier has altered it to a version that this one does not know yet: a column
        may have another's name by now.
        """
        name = table.name
        if name not in self._prepared or name in self._guarded:
            return
        known = max(self._prepared[name], table.version)
        self._link.begin()
        found = self._control.guard_table(name)
        if found is not None and found > known:
            raise TailraceError(
                ErrorKind.TARGET_THROTTLED,
                f"another applier has altered the table to version {found}, this one knows {known} yet",
                table=str(name),
            )
        self._guarded.add(name)

    def _plan(self, table: TableSchema) -> TablePlan:
        key = (table.name, table.version, table.column_names)
        plan = self._plans.get(key)
        if plan is None:
            found = self._preparation.read(table)
            if self._triggers_disabled:
                found = replace(found, acts_on_delete=False)
            plan = TablePlan(table, found)
            if not plan.whole_key:
                raise TailraceError(
                    ErrorKind.TARGET_SCHEMA, "the target's table lacks a column of the key", table=str(table.name)
                )
            if len(self._plans) >= _PLANS_MAX:
                self._plans.pop(next(iter(self._plans)))
            self._plans[key] = plan
        return plan

    def _forget_plans(self, name: TableName) -> None:
        for key in [key for key in self._plans if key[0] == name]:
            plan = self._plans.pop(key)
            with contextlib.suppress(psycopg.Error, TailraceError):
                self._stages.forget(plan)

    @contextlib.contextmanager
    def _none_pending(self, table: TableSchema) -> Iterator[None]:
        """Say so if a table cannot be changed since constraints are still to be asked about its rows."""
        try:
            yield
        except psycopg.errors.ObjectInUse as error:
            if not self._link.deferring:
                raise
            raise TailraceError(
                ErrorKind.ROW_CONFLICT,
                "the table changes in the midst of a transaction whose constraints wait for its end",
                table=str(table.name),
            ) from error

    @contextlib.contextmanager
    def _classified(self, doing: str, table: TableSchema | None = None) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise classify(error, doing, str(table.name) if table is not None else None) from error
