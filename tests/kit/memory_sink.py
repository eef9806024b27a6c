"""A sink that keeps its tables in memory: the reference for what the contract means, and the target of unit tests.

`MemoryTarget` is the server, `MemorySink` one connection to it. Several sinks on one target behave as several
appliers do; they are used from one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from apply.sink import Arrival, Arriving, Capabilities, Rejection, TableBatch, TopicPartition
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName, TableSchema

Record = dict[str, Any]
"""A stored row by column name."""

Refuse = Callable[[TableName, str, Row], ErrorKind | None]
"""Says of a row (table, list of the batch, row) whether the target refuses it, and how."""


@dataclass(slots=True)
class MemoryTable:
    """One table: rows by key, or a list of rows where there is no key."""

    schema: TableSchema
    rows: dict[Row, Record] = field(default_factory=dict)
    heap: list[Record] = field(default_factory=list)

    def copy(self) -> MemoryTable:
        """Copy deep enough for a transaction."""
        rows = {key: dict(record) for key, record in self.rows.items()}
        return MemoryTable(self.schema, rows, [dict(record) for record in self.heap])

    def tuples(self) -> list[Row]:
        """Return the rows as tuples in column order, sorted."""
        names = self.schema.column_names
        records = self.rows.values() if self.schema.key else self.heap
        return sorted((tuple(record.get(name) for name in names) for record in records), key=repr)


@dataclass(slots=True)
class MemoryTarget:
    """The server: what is committed, and what tests make it do."""

    tables: dict[TableName, MemoryTable] = field(default_factory=dict)
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    fences: dict[TopicPartition, int] = field(default_factory=dict)
    arrived: dict[str, set[TopicPartition]] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)
    completed: list[TableName] = field(default_factory=list)
    flushes: int = 0
    foreign_keys: bool = False
    """Whether foreign keys are enforced at each `apply`."""
    unique: dict[TableName, str] = field(default_factory=dict)
    """A column of each table whose values must differ, as they stand after each batch."""
    refuse: Refuse | None = None
    fail: Callable[[str], None] | None = None
    """Called with the name of each operation; may raise what a driver's border would."""

    def read(self, name: TableName) -> list[Row]:
        """Return a table's committed rows in column order, sorted."""
        return self.tables[name].tuples() if name in self.tables else []


class MemorySink:
    """One connection to a `MemoryTarget`."""

    capabilities = Capabilities(
        stores_offsets=True,
        truncates=True,
        alters=True,
        keyless=True,
        finds=True,
        clears=True,
        refers=True,
        groups=True,
    )

    def __init__(self, target: MemoryTarget) -> None:
        self.target = target
        self._fences: dict[TopicPartition, int] = {}
        self._view: dict[TableName, MemoryTable] = {}
        self._journal: list[Callable[[Mapping[TableName, MemoryTable]], None]] = []
        self._staged: dict[TopicPartition, int] = {}
        self._passing: set[str] = set()
        self._deferring = False
        self.batches: list[TableBatch] = []

    def load_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """See `Sink`."""
        self._operation("load_offsets")
        for partition in partitions:
            fence = self.target.fences.get(partition, 0) + 1
            self.target.fences[partition] = self._fences[partition] = fence
        return {p: self.target.offsets[p] for p in partitions if p in self.target.offsets}

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Sink`."""
        for partition in partitions:
            self._fences.pop(partition, None)

    def prepare(self, table: TableSchema) -> None:
        """See `Sink`. An older version than the one that is there changes nothing."""
        self._operation("prepare")
        stored = self.target.tables.get(table.name)
        if stored is None:
            self.target.tables[table.name] = MemoryTable(table)
        elif stored.schema.version < table.version:
            gone = set(stored.schema.column_names) - set(table.column_names)
            for record in [*stored.rows.values(), *stored.heap]:
                for name in gone:
                    record.pop(name, None)
            if stored.schema.key_names != table.key_names:
                stored.rows = {tuple(r[name] for name in table.key_names): r for r in stored.rows.values()}
            stored.schema = table
        self._view.pop(table.name, None)

    def prepare_all(self, tables: Sequence[TableSchema]) -> list[bool]:
        """See `GroupingSink`."""
        for table in tables:
            self.prepare(table)
        return [self.is_empty(table) for table in tables]

    def is_empty(self, table: TableSchema) -> bool:
        """See `Sink`."""
        stored = self.target.tables[table.name]
        return not stored.rows and not stored.heap

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """See `Sink`."""
        self._operation("apply")
        self.batches.append(batch)
        rejections: list[Rejection] = []
        table = self._viewed(batch.table.name)
        colliding = self._colliding(batch)
        for kind in ("deletes", "upserts", "updates", "sequence"):
            for index, item in enumerate(getattr(batch, kind)):
                refused = self._refusal(batch, kind, item)
                if (kind, index) in colliding:
                    refused = ErrorKind.ROW_CONFLICT
                if refused is not None:
                    error = TailraceError(refused, "the row was refused", table=str(batch.table.name))
                    rejections.append(Rejection(batch.table.name, kind, index, error))
                    continue
                change = _CHANGES[kind]
                change(table, batch.table, item)
                self._journal.append(
                    lambda tables, c=change, s=batch.table, i=item: c(tables[s.name], s, i)  # type: ignore[misc]
                )
        return rejections

    def present(self, table: TableSchema, keys: Sequence[Row]) -> list[bool | None]:
        """See `FindingSink`."""
        self._operation("present")
        rows = self._viewed(table.name).rows
        return [key in rows for key in keys]

    def truncate(self, tables: Sequence[TableSchema]) -> None:
        """See `Sink`."""
        self._operation("truncate")
        emptied = {table.name for table in tables}
        for table in tables:
            if self.target.foreign_keys and not self._deferring and any(self._references(table.name, besides=emptied)):
                raise TailraceError(
                    ErrorKind.ROW_CONFLICT, "rows of other tables refer to its rows", table=str(table.name)
                )
            _empty(self._viewed(table.name))
            self._journal.append(lambda stored, name=table.name: _empty(stored[name]))  # type: ignore[misc]

    def clear(self, table: TableSchema, values: Mapping[int, str | int]) -> None:
        """See `ClearingSink`."""
        self._operation("clear")
        found = {table.columns[index].name: value for index, value in values.items()}
        _take_out(self._viewed(table.name), found)
        self._journal.append(lambda stored: _take_out(stored[table.name], found))

    def drop(self, table: TableSchema) -> None:
        """See `Sink`."""
        self.target.tables.pop(table.name, None)

    def complete_load(self, table: TableSchema) -> None:
        """See `Sink`."""
        self._operation("complete_load")
        self.target.completed.append(table.name)

    def complete_all(self, tables: Sequence[TableSchema]) -> None:
        """See `GroupingSink`."""
        for table in tables:
            self.complete_load(table)

    def arrive_all(self, arrivals: Sequence[Arriving]) -> list[Arrival]:
        """See `GroupingSink`."""
        return [self.arrive(*arriving) for arriving in arrivals]

    def pass_all(self, barriers: Collection[str]) -> set[str]:
        """See `GroupingSink`."""
        return {barrier for barrier in barriers if self.pass_barrier(barrier)}

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """See `Sink`."""
        self._operation("arrive")
        arrived = self.target.arrived.setdefault(barrier, set())
        arrived.add(partition)
        return Arrival.of(len(arrived), partition_count, is_passed=barrier in self.target.passed)

    def pass_barrier(self, barrier: str) -> bool:
        """See `Sink`."""
        self._operation("pass_barrier")
        if barrier in self.target.passed:
            return False
        self._passing.add(barrier)
        return True

    def defer(self) -> None:
        """See `Sink`. Foreign keys wait, unique values do not."""
        self._operation("defer")
        self._deferring = True

    def check(self) -> TailraceError | None:
        """See `Sink`."""
        self._operation("check")
        if self._deferring and self.target.foreign_keys:
            for name in self.target.tables:
                schema = self.target.tables[name].schema
                for key in schema.foreign_keys:
                    for record in self._viewed(name).rows.values():
                        values = tuple(record.get(column) for column in key.columns)
                        if None not in values and not self._has(key.target, values):
                            return TailraceError(ErrorKind.ROW_CONFLICT, "a parent is missing", table=str(name))
        self._deferring = False
        return None

    def stage_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See `Sink`."""
        self._operation("stage_offsets")
        self._check_fences(offsets)
        self._staged.update(offsets)

    def flush(self) -> None:
        """See `Sink`."""
        self._operation("flush")
        self._check_fences(self._staged)
        if self._passing & self.target.passed:
            raise TailraceError(ErrorKind.TARGET_CONNECTION, "another applier passed the barrier at the same time")
        for change in self._journal:
            change(self.target.tables)
        self.target.offsets.update(self._staged)
        self.target.passed |= self._passing
        self.target.flushes += 1
        self.rollback()
        self._operation("flushed")

    def rollback(self) -> None:
        """See `Sink`."""
        self._view.clear()
        self._journal.clear()
        self._staged.clear()
        self._passing.clear()
        self._deferring = False

    def forget(self) -> list[str]:
        """See `Sink`. Fences stay: who still writes is refused."""
        for kept in (self.target.offsets, self.target.arrived, self.target.passed):
            kept.clear()
        return ["removed offsets and barriers"]

    def close(self) -> None:
        """See `Sink`."""
        self.rollback()

    def _operation(self, name: str) -> None:
        if self.target.fail is not None:
            self.target.fail(name)

    def _check_fences(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            if self._fences.get(partition) != self.target.fences.get(partition):
                raise TailraceError(
                    ErrorKind.INVARIANT, f"fenced: {partition.topic} {partition.partition} has another owner"
                )

    def _viewed(self, name: TableName) -> MemoryTable:
        if name not in self._view:
            self._view[name] = self.target.tables[name].copy()
        return self._view[name]

    def _refusal(self, batch: TableBatch, kind: str, item: Any) -> ErrorKind | None:
        if self.target.refuse is not None:
            refused = self.target.refuse(batch.table.name, kind, item)
            if refused is not None:
                return refused
        if self.target.foreign_keys and not self._deferring and kind == "deletes" and self._is_referred_to(batch, item):
            return ErrorKind.ROW_CONFLICT
        if self.target.foreign_keys and not self._deferring and kind in ("upserts", "updates"):
            names = batch.table.column_names
            for key in self.target.tables[batch.table.name].schema.foreign_keys:
                values = tuple(item[names.index(column)] for column in key.columns)
                if None not in values and UNCHANGED not in values and not self._has(key.target, values):
                    return ErrorKind.ROW_CONFLICT
        return None

    def _colliding(self, batch: TableBatch) -> set[tuple[str, int]]:
        """Return the rows that would share a unique value with another row; without these the others would not."""
        column = self.target.unique.get(batch.table.name)
        out: set[tuple[str, int]] = set()
        while column is not None:
            after = self._viewed(batch.table.name).copy()
            for kind in ("deletes", "upserts", "updates"):
                for index, item in enumerate(getattr(batch, kind)):
                    if (kind, index) not in out:
                        _CHANGES[kind](after, batch.table, item)
            holders: dict[Any, int] = {}
            for record in after.rows.values():
                value = record.get(column)
                holders[value] = holders.get(value, 0) + (value is not None)
            at = batch.table.column_names.index(column)
            more = {
                (kind, index)
                for kind in ("upserts", "updates")
                for index, item in enumerate(getattr(batch, kind))
                if (kind, index) not in out and holders.get(item[at], 0) > 1
            }
            if not more:
                break
            out |= more
        return out

    def _is_referred_to(self, batch: TableBatch, key: Row) -> bool:
        return key in self._references(batch.table.name)

    def _references(self, to: TableName, besides: Container[TableName] = ()) -> Iterator[Row]:
        """Yield the values by which rows refer to those of a table."""
        for name, child in self.target.tables.items():
            for foreign in child.schema.foreign_keys:
                if foreign.target == to and name not in besides:
                    for record in self._viewed(name).rows.values():
                        values = tuple(record.get(column) for column in foreign.columns)
                        if None not in values:
                            yield values

    def _has(self, name: TableName, key: Row) -> bool:
        return name in self.target.tables and key in self._viewed(name).rows


def _key(table: TableSchema, row: Row) -> Row:
    return tuple(row[i] for i in table.key)


def _record(table: TableSchema, row: Row) -> Record:
    return {c.name: v for c, v in zip(table.columns, row, strict=True) if v is not UNCHANGED}


def _upsert(stored: MemoryTable, table: TableSchema, row: Row) -> None:
    assert UNCHANGED not in row, "an upsert is whole"
    stored.rows.setdefault(_key(table, row), {}).update(_record(table, row))


def _update(stored: MemoryTable, table: TableSchema, row: Row) -> None:
    record = stored.rows.get(_key(table, row))
    if record is not None:
        record.update(_record(table, row))


def _delete(stored: MemoryTable, _table: TableSchema, key: Row) -> None:
    stored.rows.pop(key, None)


def _step(stored: MemoryTable, table: TableSchema, step: tuple[str, Row | None, Row | None]) -> None:
    """One change of a table without a key: exactly one equal row goes or changes."""
    op, before, after = step
    old = None
    if op in ("u", "d") and before is not None:
        wanted = _record(table, before)
        for i, record in enumerate(stored.heap):
            if all(record.get(name) == value for name, value in wanted.items()):
                old = stored.heap.pop(i)
                break
        if old is None:
            return
    if after is not None:
        stored.heap.append({**(old or {}), **_record(table, after)})


def _take_out(table: MemoryTable, values: Mapping[str, Any]) -> None:
    gone = [key for key, record in table.rows.items() if values.items() <= record.items()]
    for key in gone:
        del table.rows[key]


def _empty(stored: MemoryTable) -> None:
    stored.rows.clear()
    stored.heap.clear()


_CHANGES: dict[str, Callable[[MemoryTable, TableSchema, Any], None]] = {
    "deletes": _delete,
    "upserts": _upsert,
    "updates": _update,
    "sequence": _step,
}
