"""A relational sink: `apply.sink.Sink` over one connection for rows and offsets, and one for definitions.

Where definitions are part of transactions both are the same connection. An engine brings the parts: its link, control
tables, preparation, completion, staging tables and writer; and says how tables are emptied.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from apply.sink import Arrival, Arriving, Capabilities, Rejection, TableBatch, TopicPartition
from apply.sink_kinds.relational.catalog import FoundTable
from apply.sink_kinds.relational.control_tables import RelationalControlTables
from apply.sink_kinds.relational.link import RelationalLink
from apply.sink_kinds.relational.plan import RelationalPlan, written_columns
from apply.sink_kinds.relational.stages import RelationalStages
from apply.sink_kinds.relational.writer import RelationalWriter
from schemas.changes import Row
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column, TableName, TableSchema

_PLANS_MAX = 4096

P = TypeVar("P", bound=RelationalPlan[Any])
L = TypeVar("L", bound=RelationalLink)


class TablePreparation(Protocol):
    """Makes a target's table fit a version."""

    def target_name(self, name: TableName) -> TableName:
        """Return a table's name at the target."""
        ...

    def prepare(self, tables: Sequence[TableSchema]) -> None:
        """Create or alter tables. A version older than the prepared one changes nothing."""
        ...

    def read(self, table: TableSchema) -> FoundTable:
        """Return the table as the target has it. Raises TARGET_SCHEMA if it is gone."""
        ...

    def translated(self, table: TableSchema) -> TableSchema:
        """Return a version in the target's own types."""
        ...

    def ended(self) -> None:
        """Forget what was read of tables for the transaction that has ended."""
        ...


class TableCompletion(Protocol):
    """Makes what a table gets after its load."""

    def complete(self, tables: Sequence[TableSchema]) -> None:
        """Make what is missing. May be repeated."""
        ...


@dataclass(frozen=True, slots=True)
class Definitions:
    """What changes definitions, and by which link."""

    link: RelationalLink
    control: RelationalControlTables
    preparation: TablePreparation
    completion: TableCompletion


class RelationalSink(ABC, Generic[P, L]):
    """One target, as one appliers' process sees it."""

    capabilities = Capabilities(
        stores_offsets=True,
        truncates=True,
        alters=True,
        keyless=True,
        finds=True,
        clears=True,
        streams=True,
        refers=True,
        groups=True,
    )

    def __init__(
        self, link: L, control: RelationalControlTables, definitions: Definitions, writer: RelationalWriter[P]
    ) -> None:
        self._link = link
        self._control = control
        self._definitions = definitions
        self._writer = writer
        self._stages: RelationalStages[P, L] = writer.stages
        self._prepared: dict[TableName, TableSchema] = {}
        """The newest version of each table that this process has prepared: rows come in its names."""
        self._guarded: set[TableName] = set()
        """Tables that the open transaction has written: nobody else can alter them until it ends."""
        self._plans: dict[tuple[TableName, int, tuple[str, ...]], P] = {}

    # What an engine does

    @abstractmethod
    def _qualified(self, name: TableName) -> str:
        """Return the name of a source's table at the target, in quotes."""

    @staticmethod
    @abstractmethod
    def _quoted(column: str) -> str:
        """Return a column's name in quotes."""

    @abstractmethod
    def _make_plan(self, table: TableSchema, found: Any, fillings: Mapping[str, str]) -> P:
        """Return how rows of a version are written to the table that the target has, as `found`."""

    @staticmethod
    @abstractmethod
    def _filling(column: Column, found: Any, staged: Callable[[str], str]) -> str:
        """Return as SQL what the source filled a translated column with, which the target has as `found`; `staged`
        names a column of the row that lacks it.
        """

    @abstractmethod
    def truncate(self, tables: Sequence[TableSchema]) -> None:
        """Empty tables within the open transaction, all at once. Raises ROW_CONFLICT if rows of others forbid it."""

    def _definable(self, table: TableSchema) -> contextlib.AbstractContextManager[None]:
        """Raise ROW_CONFLICT, now or from within, if what the transaction has written keeps a table from changing."""
        return contextlib.nullcontext()

    # Partitions and offsets

    def load_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Claim partitions with a new fence each; return the offsets that this target has seen."""
        with self._link.classified("claiming partitions"):
            return self._control.claim(partitions)

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget partitions that were taken away."""
        self._control.release(partitions)

    def stage_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Write next offsets within the open transaction. Raises INVARIANT when fenced."""
        with self._link.classified("storing offsets"):
            self._control.install()
            self._link.begin()
            self._control.stage(offsets)

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """Record that `partition` stands at `barrier`; tell how far the barrier has come."""
        return self.arrive_all([Arriving(barrier, partition, partition_count)])[0]

    def arrive_all(self, arrivals: Sequence[Arriving]) -> list[Arrival]:
        """Record arrivals; tell of each how far its barrier has come."""
        with self._link.classified("waiting at a barrier"):
            return self._control.arrive(arrivals)

    def pass_barrier(self, barrier: str) -> bool:
        """Mark a barrier as passed within the open transaction; False if somebody has passed it already."""
        return bool(self.pass_all([barrier]))

    def pass_all(self, barriers: Collection[str]) -> set[str]:
        """Mark barriers as passed within the open transaction; return those that nobody had passed."""
        with self._link.classified("passing a barrier"):
            self._control.install()
            self._link.begin()
            return self._control.pass_barriers(barriers)

    # Tables

    def prepare(self, table: TableSchema) -> None:
        """Make or alter the table. Does nothing for a version older than the one that was prepared before."""
        self._prepare([table])

    def prepare_all(self, tables: Sequence[TableSchema]) -> list[bool]:
        """Make or alter tables; tell of each whether it is empty."""
        self._prepare(tables)
        return self._are_empty(tables)

    def _prepare(self, tables: Sequence[TableSchema]) -> None:
        self._forget_plans(*(table.name for table in tables))
        try:
            with self._link.classified("preparing the table", _only(tables)), self._definable(tables[0]):
                self._definitions.preparation.prepare(tables)
        except TailraceError as error:
            if error.kind is ErrorKind.ROW_REJECTED:
                # It is of no row that anybody sends: what is there does not take the definition.
                error.kind = ErrorKind.TARGET_SCHEMA
            raise
        for table in tables:
            known = self._prepared.get(table.name)
            if known is None or known.version < table.version:
                self._prepared[table.name] = table

    def drop(self, table: TableSchema) -> None:
        """Drop a table. Raises TARGET_SCHEMA if something else at the target depends on it."""
        self._forget_plans(table.name)
        control = self._definitions.control
        with self._link.classified("dropping the table", table.name), self._definable(table):
            control.install()
            with control.alone():
                control.tell("dropped", self._definitions.preparation.target_name(table.name))
                self._definitions.link.run(f"drop table if exists {self._qualified(table.name)}")
                control.forget_table(table.name)

    def complete_load(self, table: TableSchema) -> None:
        """Make secondary indexes and foreign keys, and let identities go on behind the loaded values."""
        self.complete_all([table])

    def complete_all(self, tables: Sequence[TableSchema]) -> None:
        """Do so for tables."""
        self._forget_plans(*(table.name for table in tables))
        with self._link.classified("completing the load", _only(tables)), self._definable(tables[0]):
            self._definitions.completion.complete(tables)

    def is_empty(self, table: TableSchema) -> bool:
        """Tell whether the target's table has no row."""
        return self._are_empty([table])[0]

    def _are_empty(self, tables: Sequence[TableSchema]) -> list[bool]:
        asked = (f"not exists (select 1 from {self._qualified(table.name)})" for table in tables)
        with self._link.classified("looking for rows", _only(tables)):
            return [bool(answer) for answer in self._link.rows(f"select {', '.join(asked)}")[0]]

    # Rows

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Write a batch within the open transaction; return the rows that the target refuses."""
        with self._of_table("writing rows", batch.table.name, batch.table):
            try:
                return self._writer.write(self._plan(batch.table), batch)
            except TailraceError as error:
                if error.kind is not ErrorKind.TARGET_SCHEMA:
                    raise
            # Another applier may have altered the table since the plan was made: once more with a new plan.
            self._forget_plans(batch.table.name)
            return self._writer.write(self._plan(batch.table), batch)

    def takes_values(self, table: TableSchema) -> bool:
        """Tell whether rows may have stand-ins for large values, as far as is known."""
        return table.name not in self._writer.whole

    def present(self, table: TableSchema, keys: Sequence[Row]) -> list[bool | None]:
        """Tell of each key whether the target has its row; None where its type cannot hold it."""
        with self._of_table("looking for rows", table.name, table):
            return self._writer.present(self._plan(table), keys)

    def clear(self, table: TableSchema, values: Mapping[int, str | int]) -> None:
        """Take out the rows that have these values in these columns, within the open transaction."""
        names = [self._qualified(table.name), *(self._quoted(table.columns[index].name) for index in values)]
        # A percent sign in a name is none of a parameter.
        into, *columns = (name.replace("%", "%%") for name in names)
        equal = " and ".join(f"{column} = %s" for column in columns)
        with self._of_table("emptying a part of the table", table.name, table):
            self._link.begin()
            self._link.execute(f"delete from {into} where {equal}", list(values.values()))

    def defer(self) -> None:
        """Do nothing where every constraint is checked at once."""

    def check(self) -> TailraceError | None:
        """Return None where what a constraint says was said when the rows were written."""
        return None

    def flush(self) -> None:
        """Commit. Invariant 3: rows and the offsets that they reach become durable together."""
        with self._link.classified("committing"):
            self._link.commit()
            self._guarded.clear()
            self._definitions.preparation.ended()
            self._stages.committed()

    def rollback(self) -> None:
        """Undo everything since the last flush."""
        self._guarded.clear()
        links = (self._link, self._definitions.link)
        if any(link.is_doubtful for link in links):
            # Both, whichever it was: they lead to the same server.
            for link in links:
                link.discard()
                link.is_doubtful = False
        self._link.rollback()
        self._definitions.preparation.ended()
        self._stages.rolled_back()

    def forget(self) -> list[str]:
        """Remove this replication's offsets, barriers and table versions; return what was removed, in words."""
        with self._link.classified("forgetting the replication"):
            return self._control.forget()

    def close(self) -> None:
        """Close the connections. May be called twice."""
        self._link.discard()
        self._definitions.link.discard()

    def _guard(self, table: TableSchema) -> None:
        """Keep others from altering a table until the transaction ends.

        Raises TARGET_THROTTLED if another applier has altered it to a version that this one does not know yet: a column
        may have another's name by now.
        """
        name = table.name
        if name not in self._prepared or name in self._guarded:
            return
        known = max(self._prepared[name].version, table.version)
        self._link.begin()
        found = self._control.guard_table(name)
        if found is not None and found > known:
            raise TailraceError(
                ErrorKind.TARGET_THROTTLED,
                f"another applier has altered the table to version {found}, this one knows {known} yet",
                table=str(name),
            )
        self._guarded.add(name)

    @contextlib.contextmanager
    def _of_table(self, doing: str, name: TableName, *guarded: TableSchema) -> Iterator[None]:
        """Guard tables, then raise the driver's errors in Tailrace's kinds: a right to a table that was taken away is
        this table's trouble. One to our own tables is everybody's.
        """
        with self._link.classified(doing, name):
            for table in guarded:
                self._guard(table)
        try:
            with self._link.classified(doing, name):
                yield
        except TailraceError as error:
            if error.kind is ErrorKind.PREREQUISITE:
                error.kind = ErrorKind.TARGET_SCHEMA
            raise

    # Plans

    def _fillings(self, table: TableSchema, found: FoundTable) -> dict[str, str]:
        """Return as SQL, by column, what the rows of a version lack, and have at the source since the column was added.

        The target's default is another value by now, or none: `now()`, or one that was dropped at once.
        """
        present = found.columns
        prepared, own = self._prepared.get(table.name), set(table.column_names)
        if prepared is None or prepared.version <= table.version:
            return {}
        # As plans name them in a staging table.
        staged = {column.name: f"s.c{place}" for place, (_, column) in enumerate(written_columns(table, found))}
        return {
            column.name: self._filling(column, present[column.name], staged.__getitem__)
            for column in self._definitions.preparation.translated(prepared).columns
            if (column.filling is not None or column.fillings) and column.name not in own and column.name in present
        }

    def _plan(self, table: TableSchema) -> P:
        key = plan_key(table)
        plan = self._plans.get(key)
        if plan is None:
            found = self._definitions.preparation.read(table)
            self._refuse_loss(table, found)
            plan = self._make_plan(table, found, self._fillings(table, found))
            if not plan.whole_key:
                raise TailraceError(
                    ErrorKind.TARGET_SCHEMA, "the target computes a column of the key itself", table=str(table.name)
                )
            if len(self._plans) >= _PLANS_MAX:
                self._plans.pop(next(iter(self._plans)))
            self._plans[key] = plan
        return plan

    def _refuse_loss(self, table: TableSchema, found: FoundTable) -> None:
        """Raise TARGET_SCHEMA if the target's table lacks a column that it had: its values would be left out, and
        nobody told. What a later version has dropped, but for the key, is no loss.
        """
        prepared = self._prepared.get(table.name, table)
        needed = {*table.key_names, *(name for name in table.column_names if name in prepared.column_names)}
        if lost := sorted(needed - found.columns.keys()):
            raise TailraceError(
                ErrorKind.TARGET_SCHEMA,
                f"the target's table lacks {', '.join(map(repr, lost))}: somebody else has dropped it",
                remedy="add it again as it was: the next try goes on. Or leave it out by a transformation rule",
                table=str(table.name),
            )

    def _forget_plans(self, *names: TableName) -> None:
        for key in [key for key in self._plans if key[0] in names]:
            plan = self._plans.pop(key)
            with contextlib.suppress(self._link.driver_error, TailraceError):
                self._stages.forget(plan)


def _only(tables: Sequence[TableSchema]) -> TableName | None:
    """Return the name of a table that is alone: of several it is not known whom an error concerns."""
    return tables[0].name if len(tables) == 1 else None


def plan_key(table: TableSchema) -> tuple[TableName, int, tuple[str, ...]]:
    """Return what plans are kept by."""
    return table.name, table.version, table.column_names
