"""The conformance suite of sinks.

A sink's own test subclasses `SinkSuite`, gives a fixture `sink` and the methods `other_sink` and `read`, and that is
all. Capabilities decide what is skipped, never a target's name. `apply/memory.py` passes first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import pytest

from apply.sink import Arrival, Sink, TableBatch, TopicPartition
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

Step = tuple[str, Row | None, Row | None]

INT64 = LogicalType(Family.INT64)
STRING = LogicalType(Family.STRING)
BOOLEAN = LogicalType(Family.BOOLEAN)

ORDERS = TableSchema(
    name=TableName("public", "orders"),
    columns=(
        Column("id", INT64, "bigint", nullable=False),
        Column("status", STRING, "character varying(20)"),
        Column("paid", BOOLEAN, "boolean"),
    ),
    key=(0,),
)
SEATS = TableSchema(
    name=TableName("public", "seats"),
    columns=(
        Column("hall", STRING, "text", nullable=False),
        Column("guest", STRING, "text"),
        Column("number", INT64, "bigint", nullable=False),
    ),
    key=(2, 0),
)
EVENTS = TableSchema(
    name=TableName("public", "events"),
    columns=(Column("kind", STRING, "text"), Column("weight", INT64, "bigint")),
    key=(),
    primary_key=False,
    full_before=True,
)
ORDERS_2 = replace(
    ORDERS, version=2, columns=(ORDERS.columns[0], ORDERS.columns[2], Column("note", STRING, "text")), key=(0,)
)

P0 = TopicPartition("shop.public.orders", 0)
P1 = TopicPartition("shop.public.orders", 1)


class SinkSuite(ABC):
    """Subclass with a name that begins with `Test`. Each test gets an empty target."""

    @pytest.fixture
    @abstractmethod
    def sink(self) -> Sink:
        """Return a sink on an empty target."""

    @abstractmethod
    def other_sink(self, sink: Sink) -> Sink:
        """Return a second, independent sink on the same target (closed by the fixture's end)."""

    @abstractmethod
    def read(self, sink: Sink, table: TableSchema) -> list[Row]:
        """Return all committed rows of a table, in canonical values and column order, with a client of its own."""

    def write(self, sink: Sink, *batches: TableBatch) -> None:
        """Apply and flush batches that nothing may be refused of."""
        for batch in batches:
            assert sink.apply(batch) == []
        sink.flush()

    def rows(self, sink: Sink, table: TableSchema) -> set[Row]:
        """Return `read` as a set, having checked that no row is there twice."""
        found = self.read(sink, table)
        assert len(found) == len(set(found))
        return set(found)

    def test_prepare_can_be_repeated(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        sink.prepare(ORDERS)
        assert sink.is_empty(ORDERS)
        assert self.read(sink, ORDERS) == []

    def test_upserts_write_whole_rows(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "new", True), (2, None, None)]))
        self.write(sink, TableBatch(ORDERS, upserts=[(2, "paid", True), (3, "", False)]))
        assert self.rows(sink, ORDERS) == {(1, "new", True), (2, "paid", True), (3, "", False)}
        assert not sink.is_empty(ORDERS)

    def test_load_then_replay_of_the_same_batch_changes_nothing(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        batch = TableBatch(ORDERS, upserts=[(i, f"s{i}", None) for i in range(100)], fresh=True)
        self.write(sink, batch)
        # Invariant 6: any call may be repeated with the same rows, whatever `fresh` said.
        self.write(sink, batch)
        assert self.rows(sink, ORDERS) == {(i, f"s{i}", None) for i in range(100)}

    def test_a_fresh_batch_reaches_an_empty_table(self, sink: Sink) -> None:
        sink.prepare(SEATS)
        self.write(sink, TableBatch(SEATS, upserts=[("a", None, 1), ("b", "x", 1)], fresh=True))
        assert self.rows(sink, SEATS) == {("a", None, 1), ("b", "x", 1)}

    def test_deletes_remove_rows_by_key(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", None), (2, "b", None)]))
        self.write(sink, TableBatch(ORDERS, deletes=[(1,), (99,)]))
        self.write(sink, TableBatch(ORDERS, deletes=[(1,), (99,)]))
        assert self.rows(sink, ORDERS) == {(2, "b", None)}

    def test_a_composite_key_stands_in_key_order(self, sink: Sink) -> None:
        sink.prepare(SEATS)
        self.write(sink, TableBatch(SEATS, upserts=[("a", "x", 1), ("a", "y", 2), ("b", "z", 1)]))
        self.write(sink, TableBatch(SEATS, deletes=[(1, "a")], updates=[("b", "w", 1)]))
        assert self.rows(sink, SEATS) == {("a", "y", 2), ("b", "w", 1)}

    def test_key_change_moves_the_row(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", None)]))
        self.write(sink, TableBatch(ORDERS, deletes=[(1,)], upserts=[(2, "a", None)]))
        assert self.rows(sink, ORDERS) == {(2, "a", None)}

    def test_unchanged_value_is_kept(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "long", False), (2, "wide", False)]))
        self.write(
            sink,
            TableBatch(ORDERS, updates=[(1, UNCHANGED, True), (2, "x", UNCHANGED), (3, UNCHANGED, True)]),
        )
        assert self.rows(sink, ORDERS) == {(1, "long", True), (2, "x", False)}

    def test_deletes_upserts_and_updates_share_a_batch(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(i, "a", None) for i in range(4)]))
        self.write(
            sink,
            TableBatch(
                ORDERS, deletes=[(0,)], upserts=[(1, "b", True), (9, "n", None)], updates=[(2, UNCHANGED, True)]
            ),
        )
        assert self.rows(sink, ORDERS) == {(1, "b", True), (2, "a", True), (3, "a", None), (9, "n", None)}

    def test_odd_texts_arrive_as_they_were(self, sink: Sink) -> None:
        sink.prepare(EVENTS)
        texts = ["", " ", "\\N", "a\tb\nc\\d\r", "'\"", "𝔘🎉", "NULL", "x" * 10_000]
        self.write(sink, TableBatch(EVENTS, sequence=[("c", None, (text, 1)) for text in texts]))
        assert sorted(row[0] for row in self.read(sink, EVENTS)) == sorted(texts)

    def test_rolled_back_rows_and_offsets_are_gone(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        sink.load_offsets([P0])
        assert sink.apply(TableBatch(ORDERS, upserts=[(1, "a", None)])) == []
        if sink.capabilities.stores_offsets:
            sink.stage_offsets({P0: 17})
        sink.rollback()
        sink.flush()
        assert self.read(sink, ORDERS) == []
        assert self.other_sink(sink).load_offsets([P0]) == {}

    def test_what_is_not_flushed_is_not_seen(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        sink.apply(TableBatch(ORDERS, upserts=[(1, "a", None)]))
        assert self.read(sink, ORDERS) == []
        sink.flush()
        assert self.rows(sink, ORDERS) == {(1, "a", None)}

    def test_offsets_come_back_at_the_next_assignment(self, sink: Sink) -> None:
        if not sink.capabilities.stores_offsets:
            pytest.skip("the sink stores no offsets")
        assert sink.load_offsets([P0, P1]) == {}
        sink.stage_offsets({P0: 17})
        sink.flush()
        sink.stage_offsets({P0: 18})
        sink.flush()
        sink.release([P0, P1])
        assert self.other_sink(sink).load_offsets([P0, P1]) == {P0: 18}

    def test_an_earlier_owner_is_fenced(self, sink: Sink) -> None:
        if not sink.capabilities.stores_offsets:
            pytest.skip("the sink stores no offsets")
        sink.prepare(ORDERS)
        sink.load_offsets([P0, P1])
        other = self.other_sink(sink)
        other.load_offsets([P0])
        with pytest.raises(TailraceError) as caught:
            self.write_at(sink, P0, 5)
        assert caught.value.kind is ErrorKind.INVARIANT
        sink.rollback()
        assert self.read(sink, ORDERS) == []
        # The partition that nobody else claimed is still its own.
        self.write_at(sink, P1, 6)
        self.write_at(other, P0, 7)
        assert other.load_offsets([P0, P1]) == {P0: 7, P1: 6}

    def write_at(self, sink: Sink, partition: TopicPartition, offset: int) -> None:
        """Write one row together with an offset."""
        sink.apply(TableBatch(ORDERS, upserts=[(offset, "w", None)]))
        sink.stage_offsets({partition: offset})
        sink.flush()

    def test_a_table_without_a_key_is_a_multiset(self, sink: Sink) -> None:
        if not sink.capabilities.keyless:
            pytest.skip("the sink takes no tables without a key")
        sink.prepare(EVENTS)
        insert: list[Step] = [
            ("r", None, ("a", 1)),
            ("c", None, ("a", 1)),
            ("c", None, ("a", 1)),
            ("c", None, (None, 2)),
        ]
        self.write(sink, TableBatch(EVENTS, sequence=insert))
        assert sorted(self.read(sink, EVENTS), key=repr) == [("a", 1), ("a", 1), ("a", 1), (None, 2)]
        self.write(
            sink,
            TableBatch(
                EVENTS,
                sequence=[
                    ("d", ("a", 1), None),
                    ("u", ("a", 1), ("b", 1)),
                    ("u", (None, 2), (None, None)),
                    ("c", None, ("z", 9)),
                    ("d", ("z", 9), None),
                ],
            ),
        )
        assert sorted(self.read(sink, EVENTS), key=repr) == [("a", 1), ("b", 1), (None, None)]

    def test_truncate_empties_within_the_transaction(self, sink: Sink) -> None:
        if not sink.capabilities.truncates:
            pytest.skip("the sink does not truncate")
        sink.prepare(ORDERS)
        sink.prepare(EVENTS)
        self.write(
            sink,
            TableBatch(ORDERS, upserts=[(1, "a", None)]),
            TableBatch(EVENTS, sequence=[("c", None, ("a", 1))]),
        )
        sink.truncate([ORDERS, EVENTS])
        sink.rollback()
        assert self.rows(sink, ORDERS) == {(1, "a", None)}
        sink.truncate([ORDERS, EVENTS])
        self.write(sink, TableBatch(ORDERS, upserts=[(2, "b", None)]))
        assert self.rows(sink, ORDERS) == {(2, "b", None)}
        assert self.read(sink, EVENTS) == []

    def test_a_newer_version_adds_and_drops_columns(self, sink: Sink) -> None:
        if not sink.capabilities.alters:
            pytest.skip("the sink does not alter tables")
        sink.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", True)]))
        sink.prepare(ORDERS_2)
        self.write(sink, TableBatch(ORDERS_2, upserts=[(2, False, "n")], updates=[(1, UNCHANGED, "late")]))
        assert self.rows(sink, ORDERS_2) == {(1, True, "late"), (2, False, "n")}

    def test_an_older_version_after_a_newer_one_changes_nothing(self, sink: Sink) -> None:
        if not sink.capabilities.alters:
            pytest.skip("the sink does not alter tables")
        sink.prepare(ORDERS)
        sink.prepare(ORDERS_2)
        other = self.other_sink(sink)
        other.prepare(ORDERS)
        self.write(other, TableBatch(ORDERS_2, upserts=[(1, True, "n")]))
        assert self.rows(sink, ORDERS_2) == {(1, True, "n")}

    def test_rows_of_an_older_version_come_cut_down_to_what_is_left(self, sink: Sink) -> None:
        if not sink.capabilities.alters:
            pytest.skip("the sink does not alter tables")
        sink.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", True)]))
        sink.prepare(ORDERS_2)
        self.write(sink, TableBatch(ORDERS_2, upserts=[(1, True, "kept"), (3, True, "x")]))
        cut = replace(ORDERS, columns=(ORDERS.columns[0], ORDERS.columns[2]))
        self.write(sink, TableBatch(cut, upserts=[(1, False), (2, True)], deletes=[(3,)]))
        assert self.rows(sink, ORDERS_2) == {(1, False, "kept"), (2, True, None)}

    def test_a_barrier_is_passed_once_when_all_have_arrived(self, sink: Sink) -> None:
        other = self.other_sink(sink)
        assert sink.arrive("b", P0, 2) is Arrival.WAITING
        assert sink.arrive("b", P0, 2) is Arrival.WAITING
        assert other.arrive("b", P1, 2) is Arrival.READY
        assert sink.arrive("b", P0, 2) is Arrival.READY
        assert sink.pass_barrier("b")
        sink.flush()
        assert not other.pass_barrier("b")
        other.rollback()
        assert sink.arrive("b", P0, 2) is Arrival.PASSED
        assert other.arrive("b", P1, 2) is Arrival.PASSED
        assert other.arrive("c", P1, 1) is Arrival.READY

    def test_a_barrier_that_was_rolled_back_is_not_passed(self, sink: Sink) -> None:
        assert sink.arrive("b", P0, 1) is Arrival.READY
        assert sink.pass_barrier("b")
        sink.rollback()
        assert sink.arrive("b", P0, 1) is Arrival.READY
        assert sink.pass_barrier("b")
        sink.flush()
        assert sink.arrive("b", P0, 1) is Arrival.PASSED

    def test_complete_load_can_be_repeated(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", None)]))
        sink.complete_load(ORDERS)
        sink.complete_load(ORDERS)
        sink.flush()
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "b", None)]))
        assert self.rows(sink, ORDERS) == {(1, "b", None)}

    def test_close_can_be_repeated(self, sink: Sink) -> None:
        other = self.other_sink(sink)
        other.close()
        other.close()
