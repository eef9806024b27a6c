"""The MySQL sink: `apply.sink.Sink` over one connection for rows and offsets, and one for definitions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import pymysql

from apply.sink import Arrival, Capabilities, Rejection, TableBatch, TopicPartition
from apply.sinks.mysql.catalog import Reference, referring
from apply.sinks.mysql.completion import Completion
from apply.sinks.mysql.connection import Link
from apply.sinks.mysql.control_tables import ControlTables
from apply.sinks.mysql.errors import classify
from apply.sinks.mysql.names import qualified, quoted
from apply.sinks.mysql.preparation import Preparation
from apply.sinks.mysql.stages import Stages
from apply.sinks.mysql.statements import TablePlan
from apply.sinks.mysql.writer import Writer
from schemas.endpoints import MysqlTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName, TableSchema

_PLANS_MAX = 4096


class MysqlSink:
    """One target server, as one appliers' process sees it."""

    capabilities = Capabilities(stores_offsets=True, truncates=True, alters=True, keyless=True)

    def __init__(self, replication: str, target_name: str, target: MysqlTarget) -> None:
        self._target = target
        self._link = Link(target)
        self._control = ControlTables(self._link, target.control_schema, replication, target_name)
        self._definitions = self._link.twin()
        registry = ControlTables(self._definitions, target.control_schema, replication, target_name)
        self._registry = registry
        self._preparation = Preparation(
            self._definitions, registry, target.schema_map, target.database, target.lock_timeout_s
        )
        self._completion = Completion(
            self._definitions,
            registry,
            self._preparation,
            foreign_keys_act=not target.foreign_key_checks,
            lock_timeout_s=target.lock_timeout_s,
        )
        self._stages = Stages(self._link, target.control_schema)
        self._writer = Writer(self._stages)
        self._prepared: dict[TableName, int] = {}
        """The newest version of each table that this process has prepared: rows come in its names."""
        self._touched: set[TableName] = set()
        """Tables that the open transaction has written: nobody can alter them until it ends, this process neither."""
        self._plans: dict[tuple[TableName, int, tuple[str, ...]], TablePlan] = {}

    def load_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Claim partitions with a new fence each; return the offsets that this target has seen."""
        with self._classified("claiming partitions"):
            return self._control.claim(partitions)

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget partitions that were taken away."""
        self._control.release(partitions)

    def prepare(self, table: TableSchema) -> None:
        """Make or alter the table. Does nothing for a version older than the one that was prepared before.

        Raises ROW_CONFLICT where the open transaction has written it: it would wait for itself.
        """
        self._none_pending(table)
        self._forget_plans(table.name)
        with self._classified("preparing the table", table):
            self._preparation.prepare(table)
        self._prepared[table.name] = max(table.version, self._prepared.get(table.name, 0))

    def is_empty(self, table: TableSchema) -> bool:
        """Tell whether the target's table has no row."""
        name = qualified(self._preparation.target_name(table.name))
        with self._classified("looking for rows", table):
            return bool(self._link.value(f"select not exists (select 1 from {name})"))

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Write a batch within the open transaction; return the rows that the target refuses."""
        with self._classified("writing rows", batch.table):
            self._guard(batch.table)
            try:
                return self._writer.write(self._plan(batch.table), batch)
            except TailraceError as error:
                if error.kind is not ErrorKind.TARGET_SCHEMA:
                    raise
            # Somebody may have altered the table since the plan was made: once more with a new plan.
            self._forget_plans(batch.table.name)
            return self._writer.write(self._plan(batch.table), batch)

    def truncate(self, tables: Sequence[TableSchema]) -> None:
        """Empty tables within the open transaction, row by row: `truncate` would commit it.

        Never cascades: the source names every table that it emptied. Raises ROW_CONFLICT while rows of other tables
        refer to these.
        """
        names = [self._preparation.target_name(table.name) for table in tables]
        with self._classified("truncating", tables[0]):
            for table in tables:
                self._guard(table)
            self._link.begin()
            references = [r for name in names for r in referring(self._link, name) if r.child not in names]
            # The tables may refer to each other, and to themselves: what is left is asked for afterwards.
            self._link.run("set session foreign_key_checks = 0")
            try:
                for name in names:
                    self._link.run(f"delete from {qualified(name)}")
            finally:
                self._link.run(f"set session foreign_key_checks = {int(self._target.foreign_key_checks)}")
            if self._target.foreign_key_checks:
                for reference in references:
                    self._refuse_orphans(reference, tables[0])

    def drop(self, table: TableSchema) -> None:
        """Drop a table. Raises TARGET_SCHEMA if something else at the target depends on it."""
        self._none_pending(table)
        self._forget_plans(table.name)
        name = qualified(self._preparation.target_name(table.name))
        with self._classified("dropping the table", table):
            self._registry.install()
            with self._registry.alone(self._target.lock_timeout_s):
                self._definitions.run(f"drop table if exists {name}")
                self._registry.forget_table(table.name)

    def complete_load(self, table: TableSchema) -> None:
        """Make secondary indexes and foreign keys."""
        self._none_pending(table)
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
        """Do nothing: the servers check every constraint at once, and know no other way."""

    def check(self) -> TailraceError | None:
        """Return None: what a constraint says was said when the rows were written."""
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
            self._touched.clear()
            self._stages.tidy()

    def rollback(self) -> None:
        """Undo everything since the last flush."""
        self._touched.clear()
        self._link.rollback()

    def forget(self) -> list[str]:
        """Remove this replication's offsets, barriers and table versions; return what was removed, in words."""
        with self._classified("forgetting the replication"):
            return self._control.forget()

    def close(self) -> None:
        """Close the connections. May be called twice."""
        self._link.discard()
        self._definitions.discard()

    def _guard(self, table: TableSchema) -> None:
        """Keep others from altering a table until the transaction ends.

        Raises TARGET_THROTTLED if another applier is altering it to a version that this one does not know yet: a column
        may have another's name by now.
        """
        name = table.name
        if name not in self._prepared or name in self._touched:
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
        self._touched.add(name)

    def _none_pending(self, table: TableSchema) -> None:
        if table.name in self._touched:
            raise TailraceError(
                ErrorKind.ROW_CONFLICT,
                "the table changes in the midst of a transaction that has written it",
                table=str(table.name),
            )

    def _refuse_orphans(self, reference: Reference, table: TableSchema) -> None:
        """Raise ROW_CONFLICT where rows of another table refer to one that was emptied."""
        refers = " and ".join(f"{quoted(column)} is not null" for column in reference.columns)
        if self._link.value(f"select exists (select 1 from {qualified(reference.child)} where {refers})"):
            raise TailraceError(
                ErrorKind.ROW_CONFLICT,
                f"rows of {reference.child} refer to the table that is emptied",
                table=str(table.name),
            )

    def _plan(self, table: TableSchema) -> TablePlan:
        key = (table.name, table.version, table.column_names)
        plan = self._plans.get(key)
        if plan is None:
            found = self._preparation.read(table, self._link)
            plan = TablePlan(table, found, foreign_key_checks=self._target.foreign_key_checks)
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
            with contextlib.suppress(pymysql.Error, TailraceError):
                self._stages.forget(plan)

    @contextlib.contextmanager
    def _classified(self, doing: str, table: TableSchema | None = None) -> Iterator[None]:
        try:
            yield
        except pymysql.Error as error:
            raise classify(error, doing, str(table.name) if table is not None else None) from error
