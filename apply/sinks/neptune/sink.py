"""The Neptune sink: vertices and edges made of rows, with the commit sequence of each row's last change beside them.

A request is a transaction of Neptune's, and each of its statements looks at the sequence of what it writes: of the
element, and of the memory that a deleted one left. So what comes again, or late, changes nothing. Rows of a full load
may go by files instead: see `loads`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from apply.sink import Gathering, Rejection, TableBatch, TopicPartition
from apply.sink_kinds.guarded import GuardedSink, needs_key, rejection, requests, sequence_of
from apply.sinks.neptune import gremlin
from apply.sinks.neptune.client import Client
from apply.sinks.neptune.control import ControlVertices
from apply.sinks.neptune.elements import Change, Element, Elements, Statements
from apply.sinks.neptune.load_files import can_load
from apply.sinks.neptune.loads import KB, Loads
from runtime import clock
from schemas.endpoints.neptune import NeptuneTarget
from schemas.errors import TailraceError
from schemas.per_table import PerTable
from schemas.table import TableSchema

CLEARED_AT_ONCE = 1_000
"""Elements that one request of a truncate removes."""
ROW_BYTES_MAX = 55_000_000
"""Of the statements of one row: Neptune takes properties of 55 MB. User guide, "Amazon Neptune limits"."""


@dataclass(slots=True)
class _Row:
    """One row's statements."""

    kind: str
    index: int
    statements: Statements


class NeptuneSink(GuardedSink):
    """One cluster's graph, as one appliers' process sees it."""

    def __init__(self, replication: str, target_name: str, target: NeptuneTarget, *, loads: bool = True) -> None:
        """`loads`: rows of full loads may go by files, where the target has a bucket."""
        self._target = target
        self._client = Client(target)
        self._control = ControlVertices(self._client, f"{replication}/{target_name}", target.deleted_kept_s)
        super().__init__(self._control)
        self._elements = PerTable(lambda table: Elements(table, target.graph_mapping))
        self._unloadable = PerTable(lambda table: [e for e in self._elements(table).all if not can_load(e)])
        self._loads: Loads | None = None
        if target.s3_bucket_name is not None and loads:
            owner = (replication, target_name)
            self._loads = Loads(self._client, self._control, target, owner, self._elements, self.is_empty)
            gathering = Gathering(target.max_file_size * KB, target.load_interval_s, reads_only=True)
            self.capabilities = replace(self.capabilities, gathering=gathering)

    def load_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """See `Sink`. Whose they are is noted for loads by files alone: everything else is guarded row by row."""
        if self._loads is not None:
            self._loads.claim(partitions)
        return super().load_offsets(partitions)

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Sink`."""
        if self._loads is not None:
            self._loads.release(partitions)

    def flush(self) -> None:
        """Let what was gathered be loaded, and wait for it."""
        if self._loads is not None:
            self._loads.finish()
        super().flush()

    def rollback(self) -> None:
        """Give up what was gathered."""
        if self._loads is not None:
            self._loads.abandon()
        super().rollback()

    def prepare(self, table: TableSchema) -> None:
        """Check that rows can be elements. Raises TARGET_SCHEMA. A graph has nothing that must be made before."""
        needs_key(table, "a vertex")
        self._elements(table)
        self._know(table)

    def is_empty(self, table: TableSchema) -> bool:
        """Tell whether no element is there that the table's rows have made."""
        some = (f"g.{each.letter}().has({each.own}).limit(1).count()" for each in self._elements(table).all)
        return not any(self._client.send([statement], f"looking for rows of {table.name}")[0] for statement in some)

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Write a batch; return the rows that Neptune does not take. What was written is durable."""
        elements, rejections = self._elements(batch.table), list[Rejection]()
        loaded = self._loads.take_in(batch, elements) if self._loads is not None else ()
        for made in (self._deletes(batch, elements), self._rows(batch, elements, rejections, loaded)):
            fitting = (row for row in made if _fits(batch, row, rejections))
            for some in requests(
                fitting, lambda row: row.statements.size, self._target.request_statements, self._target.request_bytes
            ):
                self._send(batch.table, some)
        self._control.sweep()
        return rejections

    def truncate(self, tables: Sequence[TableSchema]) -> None:
        """Remove every element of the tables' rows. Everybody waits at the barrier meanwhile."""
        if self._loads is not None:
            self._loads.finish()
            self._loads.settle_all(tables)
        for table in tables:
            for element in self._elements(table).all:
                while self._client.send(
                    [f"g.{element.letter}().has({element.own}).limit(1).count()"], f"emptying {table.name}"
                )[0]:
                    self._client.send([element.clear(CLEARED_AT_ONCE)], f"emptying {table.name}")
                    self._client.send(gremlin.sweep(), "removing vertices that nothing needs")
        if self._loads is not None:
            self._loads.begin_again(tables)

    def drop(self, table: TableSchema) -> None:
        """Remove every element of the table's rows."""
        self.truncate([table])
        self._newest.pop(table.name, None)

    def complete_load(self, table: TableSchema) -> None:
        """Let rows that are read again go by Gremlin. Neptune has every property in an index."""
        if self._loads is not None:
            self._loads.end(table)

    def close(self) -> None:
        """Close the connection."""
        if self._loads is not None:
            self._loads.close()
        self._client.close()

    def _deletes(self, batch: TableBatch, elements: Elements) -> Iterator[_Row]:
        for i, key in enumerate(batch.deletes):
            change, statements = _change(batch, "deletes", i, elements.keys.of_key(key)), Statements()
            for element in elements.all:
                element.delete(elements.id_of_key(element, key), change, statements)
            yield _Row("deletes", i, statements)

    def _rows(
        self, batch: TableBatch, elements: Elements, rejections: list[Rejection], loaded: Collection[int]
    ) -> Iterator[_Row]:
        for i, row in enumerate(batch.upserts):
            some: Iterable[Element] = self._unloadable(batch.table) if i in loaded else elements.all
            change, statements = _change(batch, "upserts", i, elements.keys.of_row(row)), Statements()
            try:
                for element in some:
                    element.write(row, change, statements)
            except ValueError as error:
                rejections.append(rejection(batch.table, "upserts", i, str(error)))
                continue
            yield _Row("upserts", i, statements)
        for begin in range(0, len(batch.updates), self._target.request_statements):
            yield from self._updates(batch, elements, begin, rejections)

    def _updates(
        self, batch: TableBatch, elements: Elements, begin: int, rejections: list[Rejection]
    ) -> Iterator[_Row]:
        rows = batch.updates[begin : begin + self._target.request_statements]
        keys = [elements.keys.of_row(row) for row in rows]
        found = {element.name: self._found(batch.table, element, keys) for element in elements.all if element.moves}
        for i, (row, key) in enumerate(zip(rows, keys, strict=True), begin):
            change, statements = _change(batch, "updates", i, key), Statements()
            try:
                for element in elements.all:
                    element.update(row, change, found.get(element.name, {}).get(key), statements)
            except ValueError as error:
                rejections.append(rejection(batch.table, "updates", i, str(error)))
                continue
            yield _Row("updates", i, statements)

    def _found(self, table: TableSchema, element: Element, keys: list[str]) -> dict[str, tuple[str, ...]]:
        """Return where the elements of rows are: id, and an edge's ends."""
        found = self._client.send([element.where_found(keys)], f"looking for rows of {table.name}")
        names = ("id", "from", "to") if element.is_edge else ("id",)
        return {each["row"]: tuple(each[name] for name in names) for each in found}

    def _send(self, table: TableSchema, rows: list[_Row]) -> None:
        doing = f"writing rows of {table.name}"
        try:
            for order in ("first", "then", "last"):
                if statements := [s for row in rows for s in getattr(row.statements, order)]:
                    self._client.send(statements, doing)
            if any(row.statements.leaves_orphans for row in rows):
                self._client.send(gremlin.sweep(), "removing vertices that nothing needs")
        except TailraceError as error:
            error.table = str(table.name)
            raise


def _change(batch: TableBatch, kind: str, i: int, key: str) -> Change:
    return Change(key, sequence_of(batch, kind, i), clock.now_us() // 1_000_000)


def _fits(batch: TableBatch, row: _Row, rejections: list[Rejection]) -> bool:
    size = row.statements.size
    if size <= ROW_BYTES_MAX:
        return True
    message = f"a row makes statements of {size} bytes; {ROW_BYTES_MAX} are allowed"
    rejections.append(rejection(batch.table, row.kind, row.index, message))
    return False
