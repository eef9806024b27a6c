"""What sinks have in common that keep the state of tables and guard each row by its commit sequence.

Such a target has no transactions over rows and offsets: the group's offsets are the checkpoint, what follows the last
one comes again, and only what has a higher commit sequence than the row at the target is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Protocol, TypeVar

import orjson

from apply.sink import Arrival, Capabilities, Rejection, TableBatch, TopicPartition
from schemas.changes import Row
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding, blocks, of_error
from schemas.table import TableName, TableSchema
from schemas.types.plain import key_plain

T = TypeVar("T")

PLAIN_KEY_LENGTH_MAX = 300
"""Characters of a key that identifies what is remembered of a deleted row; a longer one goes by its hash."""


class BarrierStore(Protocol):
    """Where barriers of one replication and target are kept, durably and each changed by one applier at a time."""

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """Record an arrival; tell how far the barrier has come."""
        ...

    def is_passed(self, barrier: str) -> bool:
        """Tell whether somebody has passed a barrier."""
        ...

    def set_passed(self, barrier: str) -> None:
        """Mark a barrier as passed."""
        ...

    def forget(self) -> list[str]:
        """Remove what is kept about the replication; return what was removed, in words."""
        ...


class GuardedSink:
    """The part of `Sink` that such a sink needs not write itself. Left are `prepare`, `is_empty`, `apply`, `truncate`,
    `drop`, `complete_load` and `close`.
    """

    capabilities = Capabilities(
        stores_offsets=False, truncates=True, alters=True, keyless=False, origins=True, rolls_back=False
    )

    def __init__(self, barriers: BarrierStore) -> None:
        self._barriers = barriers
        self._passing: list[str] = []
        self._newest: dict[TableName, TableSchema] = {}
        """The newest version of each table that this process has prepared."""

    def load_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """See `Sink`. The group's offsets are the checkpoint."""
        return {}

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Sink`."""

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """See `Sink`."""
        return self._barriers.arrive(barrier, partition, partition_count)

    def pass_barrier(self, barrier: str) -> bool:
        """See `Sink`. Two that come at the same moment both do the work; a truncate is one applier's (`Holds`)."""
        if self._barriers.is_passed(barrier):
            return False
        self._passing.append(barrier)
        return True

    def defer(self) -> None:
        """See `Sink`. There are no constraints."""

    def check(self) -> TailraceError | None:
        """See `Sink`."""
        return None

    def stage_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See `Sink`. Not called."""

    def flush(self) -> None:
        """Mark barriers as passed; rows are durable since they were written."""
        while self._passing:
            self._barriers.set_passed(self._passing[-1])
            self._passing.pop()

    def rollback(self) -> None:
        """Forget barriers that were to be passed. Rows stay: they are written again, under the same sequences."""
        self._passing.clear()

    def forget(self) -> list[str]:
        """Remove what is kept about the replication."""
        return self._barriers.forget()

    def _know(self, table: TableSchema) -> None:
        """Remember a version: rows that lack some of the newest one's columns leave them alone from now on."""
        known = self._newest.get(table.name)
        if known is None or known.version < table.version:
            self._newest[table.name] = table

    def _is_whole(self, table: TableSchema) -> bool:
        """Tell whether rows of this version have every column that the table has now: nothing else is to be left."""
        return {*self._newest.get(table.name, table).column_names} <= {*table.column_names}


def needs_key(table: TableSchema, what: str) -> None:
    """Raise TARGET_SCHEMA for a table without a key."""
    if not table.key:
        raise TailraceError(
            ErrorKind.TARGET_SCHEMA,
            f"a table without a key has nothing that {what} could be identified by",
            table=str(table.name),
            remedy="give it a primary key, or leave it out",
        )


def table_findings(
    tables: Iterable[TableSchema],
    place_of: Callable[[TableSchema], str],
    what: str,
    setting: str,
    *,
    keyless: bool = False,
) -> Iterator[tuple[TableSchema, str, Finding | None]]:
    """Yield each table with its place at the target and what stands in the way: no key, no legal place (`place_of`
    raises), or another table's place. `what` is a row there, `setting` the one that names places.
    """
    owners: dict[str, TableName] = {}
    for table in tables:
        try:
            if not keyless:
                needs_key(table, what)
            place = place_of(table)
        except TailraceError as error:
            code = "no-place" if table.key or keyless else "no-key"
            yield table, "", of_error(error, code, table.name)
            continue
        owner = owners.setdefault(place, table.name)
        message, remedy = f"its place at the target, {place}, would be that of {owner} too", f"set `{setting}`"
        shared = blocks("shared-place", message, remedy, table.name) if owner != table.name else None
        yield table, place, shared


def rejection(table: TableSchema, kind: str, index: int, message: str) -> Rejection:
    """Return that a row is refused."""
    return Rejection(table.name, kind, index, TailraceError(ErrorKind.ROW_REJECTED, message, table=str(table.name)))


def sequence_of(batch: TableBatch, kind: str, index: int) -> int:
    """Return the commit sequence of a row's last change."""
    return batch.origins[kind][index].seq


class KeyTexts:
    """The key of a row as one text: its value's, or a JSON array of several. Equal numbers have one text."""

    def __init__(self, table: TableSchema) -> None:
        self._forms = [key_plain(table.columns[i].type) for i in table.key]
        self._places = table.key
        self._only = self._forms[0] if len(self._forms) == 1 else None

    def of_row(self, row: Row) -> str:
        """Return a row's."""
        return self.of_key([row[i] for i in self._places])

    def of_key(self, key: Sequence[Any]) -> str:
        """Return that of key values, in key order."""
        if self._only is not None:
            (only,) = key
            value = self._only(only)
            if value.__class__ is int:
                return str(value)
            return value if isinstance(value, str) else orjson.dumps(value).decode()
        return orjson.dumps([form(value) for form, value in zip(self._forms, key, strict=True)]).decode()


def brief(key: str) -> str:
    """Return a key's text, or what stands for one that is too long for an index."""
    return key if len(key) <= PLAIN_KEY_LENGTH_MAX else sha256(key.encode()).hexdigest()


def requests(items: Iterable[T], size_of: Callable[[T], int], count_max: int, bytes_max: int) -> Iterator[list[T]]:
    """Yield items in groups for one request each. One that is too large by itself goes alone."""
    some: list[T] = []
    size = 0
    for item in items:
        more = size_of(item)
        if some and (size + more > bytes_max or len(some) >= count_max):
            yield some
            some, size = [], 0
        some.append(item)
        size += more
    if some:
        yield some
