"""A sink behind table mappings: tables and rows reach it as the rules would have them.

Whatever the service asks by a table of the source is asked of the sink by the table at the target. A table that no rule
touches passes as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import cast

from apply.mapped_rows import MappedBatch, changed
from apply.schema_catalog import Known
from apply.sharing import Sharing
from apply.sink import (
    Arrival,
    Arriving,
    Capabilities,
    ClearingSink,
    FindingSink,
    GroupingSink,
    Rejection,
    Sink,
    StagingSink,
    TableBatch,
    TopicPartition,
)
from apply.values import Values
from runtime.logging import get_logger
from schemas.changes import Row
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding, of_error, warns
from schemas.mappings.keys import Claims
from schemas.mappings.mapped_table import map_table
from schemas.mappings.rules import TransformationRule
from schemas.per_table import PerSchema
from schemas.row_forms import StagedForm
from schemas.table import TableName, TableSchema

log = get_logger(__name__)


class MappedSink:
    """Passes everything to the sink inside, in the target's terms."""

    def __init__(
        self,
        sink: Sink,
        rules: Sequence[TransformationRule],
        values: Values | None = None,
        tables: Callable[[], Iterable[Known]] = list,
    ) -> None:
        """`values` does what is to be done to rows before any rule sees them. `tables` returns what is known of the
        source's.
        """
        self._sink = sink
        self._values = values
        self._keeps_history = sink.capabilities.history
        self._map = PerSchema(partial(map_table, tuple(rules), keeps_history=self._keeps_history))
        self._sharing = Sharing(self._map, tables)
        # Rules and settings look at values.
        self.capabilities: Capabilities = replace(sink.capabilities, shares=True, streams=False)
        if any(rule.speaks_of_changes for rule in rules):
            self.capabilities = replace(self.capabilities, origins=True)

    def load_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Claim partitions, as `Sink.load_offsets` says."""
        return self._sink.load_offsets(partitions)

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget partitions, as `Sink.release` says."""
        self._sink.release(partitions)

    def prepare(self, table: TableSchema) -> None:
        """Make or alter the table at the target. Raises TARGET_SCHEMA, too, if another one goes there that may not."""
        into = self._claimed(table)
        with self._said_of_source(table):
            self._sink.prepare(into)

    def prepare_all(self, tables: Sequence[TableSchema]) -> list[bool]:
        """Make or alter tables, and tell whether they are empty, as `GroupingSink.prepare_all` says."""
        into = [self._claimed(table) for table in tables]
        if len({table.name for table in into}) < len(into):
            # Several go into one.
            for table in tables:
                self.prepare(table)
            return [self.is_empty(table) for table in tables]
        with self._said_of_source(*tables):
            return cast("GroupingSink", self._sink).prepare_all(into)

    def _claimed(self, table: TableSchema) -> TableSchema:
        """Return a table as the target is to have it. Raises TARGET_SCHEMA if another one goes there that may not."""
        mapped = self._map(table)
        into = self._sharing.claim(table, agree=self._clears(table))
        if into.life > 1 and self._sharing.is_shared(table):
            raise self._shared(table, into.name, "it was made anew, or is keyed anew")
        if mapped.left_out:
            log.warning("left out by the table mappings", table=str(into.name), what=list(mapped.left_out))
        return into

    def is_empty(self, table: TableSchema) -> bool:
        """Tell whether the target's table has no row."""
        with self._said_of_source(table):
            return self._sink.is_empty(self._map(table).table)

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Write a batch. Rows with a value that cannot become what it should are rejected like those of the sink."""
        mapped = self._map(batch.table)
        if self._values is not None:
            batch = self._values.batch(batch)
            batch = self._values.old_rows(batch) if mapped.needs_old_rows and not self._keeps_history else batch
        if mapped.rows is None:
            with self._said_of_source(batch.table):
                return self._sink.apply(replace(batch, table=mapped.table))
        made = MappedBatch(batch, mapped, keeps_history=self._keeps_history)
        with self._said_of_source(batch.table):
            rejections = self._sink.apply(made.batch)
        return made.refused + [made.of_source(rejection) for rejection in rejections]

    def present(self, table: TableSchema, keys: Sequence[Row]) -> list[bool | None]:
        """Tell of keys whether the target has their rows, as `FindingSink.present` says."""
        mapped, batch = self._map(table), TableBatch(table, deletes=keys)
        if self._values is not None:
            batch = self._values.batch(batch)
        made, kept = changed("deletes", batch, mapped.keys, (), [])
        with self._said_of_source(table):
            found = cast("FindingSink", self._sink).present(mapped.table, made)
        answers: list[bool | None] = [None] * len(keys)
        for place, is_there in zip(range(len(keys)) if kept is None else kept, found, strict=True):
            # What is there may be a row that was deleted and stays: an insert brings it back.
            answers[place] = None if is_there and mapped.indicators else is_there
        return answers

    def staged_form(self, table: TableSchema) -> StagedForm | None:
        """Return the form of a table whose rows no rule touches, as `StagingSink.staged_form` says."""
        mapped = self._map(table)
        if mapped.rows is not None or (self._values is not None and self._values.touches(table)):
            return None
        return cast("StagingSink", self._sink).staged_form(mapped.table)

    def truncate(self, tables: Sequence[TableSchema]) -> None:
        """Empty tables, all at once; of one that goes into a table with others take out its own rows.

        Raises TARGET_SCHEMA where these cannot be told by a statement.
        """
        whole = [table for table in tables if not self._clears(table)]
        for table in whole:
            if self._sharing.is_shared(table):
                raise self._shared(table, self._map(table).table.name, "it was emptied")
        with self._said_of_source(*tables):
            if whole:
                self._sink.truncate([self._map(table).table for table in whole])
            for table in tables:
                if self._clears(table):
                    cast("ClearingSink", self._sink).clear(self._map(table).table, self._sharing.part(table))

    def drop(self, table: TableSchema) -> None:
        """Drop a table that the source dropped, unless others are in it too."""
        if not self._sharing.is_shared(table):
            with self._said_of_source(table):
                self._sink.drop(self._map(table).table)
        self._sharing.release(table)

    def complete_load(self, table: TableSchema) -> None:
        """Make the secondary indexes and foreign keys that the rules leave."""
        with self._said_of_source(table):
            self._sink.complete_load(self._map(table).table)

    def complete_all(self, tables: Sequence[TableSchema]) -> None:
        """Do so for tables, one by one where several are one at the target."""
        into = [self._map(table).table for table in tables]
        if len({table.name for table in into}) < len(into):
            for table in tables:
                self.complete_load(table)
            return
        with self._said_of_source(*tables):
            cast("GroupingSink", self._sink).complete_all(into)

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """Record that a partition stands at a barrier, as `Sink.arrive` says."""
        return self._sink.arrive(barrier, partition, partition_count)

    def arrive_all(self, arrivals: Sequence[Arriving]) -> list[Arrival]:
        """Record arrivals, as `GroupingSink.arrive_all` says."""
        return cast("GroupingSink", self._sink).arrive_all(arrivals)

    def pass_barrier(self, barrier: str) -> bool:
        """Mark a barrier as passed, as `Sink.pass_barrier` says."""
        return self._sink.pass_barrier(barrier)

    def pass_all(self, barriers: Collection[str]) -> set[str]:
        """Mark barriers as passed, as `GroupingSink.pass_all` says."""
        return cast("GroupingSink", self._sink).pass_all(barriers)

    def defer(self) -> None:
        """Let constraints wait, as `Sink.defer` says."""
        self._sink.defer()

    def check(self) -> TailraceError | None:
        """Ask deferred constraints, as `Sink.check` says."""
        return self._sink.check()

    def stage_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Write offsets within the open transaction."""
        self._sink.stage_offsets(offsets)

    def flush(self) -> None:
        """Make everything durable."""
        self._sink.flush()

    def rollback(self) -> None:
        """Undo everything since the last flush."""
        self._sink.rollback()

    def forget(self) -> list[str]:
        """Remove what the target keeps about the replication."""
        return self._sink.forget()

    def close(self) -> None:
        """Close the connection."""
        self._sink.close()

    def stays(self, table: TableSchema, *, is_gone: bool) -> bool:
        """Tell whether a table's rows are left, as `SharingSink.stays` says: those of one that is gone stay."""
        return self._sharing.is_shared(table) and (is_gone or not self._clears(table))

    def _clears(self, table: TableSchema) -> bool:
        """Tell whether a table's rows can be taken out of the target's table, and all others stay."""
        return self._sink.capabilities.clears and bool(self._sharing.part(table))

    @contextmanager
    def _said_of_source(self, *tables: TableSchema) -> Iterator[None]:
        """Let errors name the table of the source: by that the service knows whom they concern."""
        try:
            yield
        except TailraceError as error:
            for table in tables:
                if error.table == str(self._map(table).table.name):
                    error.table = str(table.name)
                    break
            raise

    def _shared(self, table: TableSchema, name: TableName, what: str) -> TailraceError:
        return TailraceError(
            ErrorKind.TARGET_SCHEMA,
            f"{what}, and the target's table {name} has rows of others",
            table=str(table.name),
            remedy="give it a name of its own in the mappings, start the applier again, and reload the table",
        )


def mapped_tables(
    rules: Sequence[TransformationRule], tables: Sequence[TableSchema], *, keeps_history: bool = False
) -> tuple[list[TableSchema], list[Finding]]:
    """Return the tables as the target is to have them, and what stands in the way of those that cannot be."""
    if not rules:
        return list(tables), []
    made: list[TableSchema] = []
    found: list[Finding] = []
    claims = Claims()
    for table in tables:
        try:
            mapped = map_table(rules, table, keeps_history=keeps_history)
            claims.claim(table.name, mapped.table, mapped.constants)
        except TailraceError as error:
            found.append(of_error(error, "mapping-rule", table.name))
            continue
        if mapped.left_out:
            message = f"the table mappings leave no place for {', '.join(mapped.left_out)}"
            found.append(warns("mapping-leaves-out", message, table=table.name))
        made.append(mapped.table)
    return made, found
