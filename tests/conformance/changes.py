"""What the suite gives a sink, in the form that its capabilities ask for, and what a history comes to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from apply.sink import Capabilities, Origin, Sink, TableBatch, TopicPartition
from schemas.changes import UNCHANGED, Row
from schemas.position import first_sequence
from schemas.table import TableSchema

Step = tuple[str, Row | None, Row | None]

COMMIT_TS_US = 1_735_697_676_444_453


class Seen(NamedTuple):
    """A change as it stands in a target that keeps a history."""

    seq: int
    op: str
    """`r`, `c`, `u`, `d` or `t`; `c` where the target does not tell it from `r`."""
    values: dict[str, Any]
    """Canonical values by column; what the log did not hold is not there, and a truncate has none."""


class Giver:
    """Gives each batch a place in Kafka when it is first given, the same one whenever it is given again."""

    def __init__(self) -> None:
        self._seq = first_sequence(1)
        self._offsets: dict[TopicPartition, int] = {}
        self._given: dict[int, tuple[TableBatch, TableBatch]] = {}
        self._owned: dict[int, dict[TopicPartition, int]] = {}

    def given(self, batch: TableBatch, capabilities: Capabilities, number: int = 0) -> TableBatch:
        """Return a batch as a sink wants it, from the partition `number` of the table's topic."""
        if id(batch) not in self._given:
            self._given[id(batch)] = batch, self._made(batch, capabilities, number)
        return self._given[id(batch)][1]

    def forget_batches(self) -> None:
        """Let what was given go: none of it is given again."""
        self._given.clear()

    def unseen(self, sink: Sink, batch: TableBatch) -> TableBatch:
        """Return what of a batch the service would give: of a history that stores offsets, nothing that precedes them.

        Notes which offsets are reached by it.
        """
        if not (sink.capabilities.history and sink.capabilities.stores_offsets):
            return batch
        owned = self._owned.setdefault(id(sink), {})
        origins = batch.origins["sequence"]
        for partition in {origin.partition for origin in origins} - owned.keys():
            owned[partition] = sink.load_offsets([partition]).get(partition, 0)
        new = [i for i, origin in enumerate(origins) if origin.offset >= owned[origin.partition]]
        owned.update({origins[i].partition: origins[i].offset + 1 for i in new})
        kept = {"sequence": [origins[i] for i in new]}
        return TableBatch(batch.table, sequence=[batch.sequence[i] for i in new], origins=kept)

    def stage(self, sink: Sink) -> None:
        """Stage what `unseen` has noted."""
        if self._owned.get(id(sink)):
            sink.stage_offsets(self._owned[id(sink)])

    def forget(self, sink: Sink) -> None:
        """Ask the sink anew where its partitions begin."""
        self._owned.pop(id(sink), None)

    def _made(self, batch: TableBatch, capabilities: Capabilities, number: int) -> TableBatch:
        if capabilities.history and not batch.sequence:
            width = len(batch.table.columns)
            op = "r" if batch.fresh else "c"
            steps: list[Step] = [("d", _only_key(batch.table, key, width), None) for key in batch.deletes]
            steps += [(op, None, row) for row in batch.upserts]
            steps += [("u", None, row) for row in batch.updates]
            batch = TableBatch(batch.table, sequence=steps)
        if not capabilities.origins:
            return batch
        partition = TopicPartition(f"shop.{batch.table.name}", number)
        origins = {
            kind: [self._origin(partition) for _ in getattr(batch, kind)]
            for kind in ("deletes", "upserts", "updates", "sequence")
        }
        return TableBatch(
            batch.table, batch.upserts, batch.updates, batch.deletes, batch.sequence, batch.fresh, origins
        )

    def _origin(self, partition: TopicPartition) -> Origin:
        self._seq += 1
        # Markers of transactions take offsets, too.
        offset = self._offsets.get(partition, -1) + (2 if self._seq % 7 == 0 else 1)
        self._offsets[partition] = offset
        return Origin(partition, offset, self._seq, COMMIT_TS_US, 7)


def folded(table: TableSchema, history: Iterable[Seen]) -> list[Row]:
    """Return the rows that a table has after changes, in the order of their commit sequence."""
    rows: dict[Any, dict[str, Any]] = {}
    bag = 0
    for seen in sorted(history, key=lambda s: s.seq):
        if seen.op == "t":
            rows.clear()
            continue
        key: Any = tuple(seen.values.get(name) for name in table.key_names)
        if not table.key:
            bag += 1
            key = bag
            if seen.op == "d":
                key = next(k for k, row in rows.items() if row == seen.values)
        if seen.op == "d":
            rows.pop(key, None)
        elif seen.op == "u" and table.key:
            # A row that is known in part only does not bring one back that is gone.
            if key in rows or set(table.column_names) <= seen.values.keys():
                rows.setdefault(key, {}).update(seen.values)
        else:
            rows[key] = dict(seen.values)
    return [tuple(row.get(name) for name in table.column_names) for row in rows.values()]


def _only_key(table: TableSchema, key: Row, width: int) -> Row:
    values = dict(zip(table.key, key, strict=True))
    return tuple(values.get(i, UNCHANGED) for i in range(width))


def replaced(sink: Sink, before: Row, after: Row) -> list[Step]:
    """Return the change of a row without a key: a history's reader cannot tell which of equal rows it is."""
    if sink.capabilities.history:
        return [("d", before, None), ("c", None, after)]
    return [("u", before, after)]
