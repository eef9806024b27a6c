"""The conformance suite of sinks, ours and others': it is what "works" means for a target.

A sink's own test subclasses `SinkSuite` with a name that begins with `Test`, gives the fixture `sink`, `other_sink`,
and `read` (or `read_history`), and that is all. `Capabilities` decide what is asked, never a target's name. Faults that
only the sink's client can bring about, and values that its target cannot hold, are told by `fault` and `holds`.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar, cast

import pytest

from apply.sink import (
    Arrival,
    Arriving,
    ClearingSink,
    FindingSink,
    GroupingSink,
    Sink,
    StreamingSink,
    TableBatch,
    TopicPartition,
)
from schemas.changes import UNCHANGED, Row
from schemas.errors import Action, ErrorKind, TailraceError
from schemas.large_values import value_of
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.conformance.changes import Giver, Seen, folded, replaced
from tests.conformance.together import Together
from tests.conformance.under_death import UnderDeath
from tests.conformance.under_load import UnderLoad
from tests.kit.type_samples import SAMPLES, TypeSample

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


class SinkSuite(Together, UnderLoad, UnderDeath):
    """Subclass with a name that begins with `Test`. Each test gets an empty target."""

    samples: ClassVar[Sequence[TypeSample]] = SAMPLES
    """Types and their values; a subclass that tests them in another way of its own says so here."""

    @pytest.fixture
    @abstractmethod
    def sink(self) -> Sink | Iterator[Sink]:
        """Return a sink on an empty target."""

    @abstractmethod
    def other_sink(self, sink: Sink) -> Sink:
        """Return a second, independent sink on the same target (closed by the fixture's end)."""

    def read(self, sink: Sink, table: TableSchema) -> list[Row]:
        """Return all rows of a table, in canonical values and column order, with a client of its own.

        Of a history: what its changes come to, each of them once.
        """
        history = self.read_history(sink, table)
        by_place = {(seen.seq, repr(seen)): seen for seen in history}
        if sink.capabilities.exactly_once:
            assert len(by_place) == len(history), "a change is there twice"
        return folded(table, by_place.values())

    def read_history(self, sink: Sink, table: TableSchema) -> list[Seen]:
        """Return all changes of a table from a target that keeps a history, as its readers find them."""
        raise NotImplementedError

    def holds(self, type_: LogicalType, value: Any) -> bool:
        """Tell whether the target can hold a value. One that it cannot is refused, row by row."""
        return True

    def kept(self, column: Column, value: Any) -> Any:
        """Return what `read` returns of a value that is held: the value, unless the target has another form for it."""
        return value

    def fault(self, sink: Sink, number: int) -> contextlib.AbstractContextManager[None] | None:
        """Return a context in which the `number`th request that writes fails, as if the target were busy or gone;
        odd ones after they were carried out. None: the sink's client gives no means to bring it about.
        """
        return None

    @pytest.fixture(autouse=True)
    def _giver(self) -> None:
        self.giver = Giver()

    def give(self, sink: Sink, batch: TableBatch, number: int = 0) -> None:
        """Apply a batch that nothing may be refused of; the same batch has the same origin whenever it is given."""
        given = self.giver.given(batch, sink.capabilities, number)
        assert sink.apply(self.giver.unseen(sink, given)) == []

    def flush(self, sink: Sink) -> None:
        """Flush, with the offsets reached where the sink keeps them."""
        self.giver.stage(sink)
        sink.flush()

    def rollback(self, sink: Sink) -> None:
        """Roll back; what comes next begins where the sink then says."""
        sink.rollback()
        self.giver.forget(sink)

    def write(self, sink: Sink, *batches: TableBatch, number: int = 0) -> None:
        """Apply and flush batches that nothing may be refused of."""
        for batch in batches:
            self.give(sink, batch, number)
        self.flush(sink)

    def rows(self, sink: Sink, table: TableSchema) -> set[Row]:
        """Return `read` as a set, having checked that no row is there twice."""
        found = self.read(sink, table)
        assert len(found) == len(set(found))
        return set(found)

    def test_prepare_can_be_repeated(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        sink.prepare(ORDERS)
        assert sink.is_empty(ORDERS) or sink.capabilities.history
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
        _needs(sink.capabilities.keyless, "the sink takes no tables without a key")
        sink.prepare(EVENTS)
        texts = ["", " ", "\\N", "a\tb\nc\\d\r", "'\"", "𝔘🎉", "NULL", "x" * 10_000]
        self.write(sink, TableBatch(EVENTS, sequence=[("c", None, (text, 1)) for text in texts]))
        assert sorted(row[0] for row in self.read(sink, EVENTS)) == sorted(texts)

    def test_rolled_back_rows_and_offsets_are_gone(self, sink: Sink) -> None:
        _needs(sink.capabilities.rolls_back, "the sink has no rollback")
        sink.prepare(ORDERS)
        sink.load_offsets([P0])
        self.give(sink, TableBatch(ORDERS, upserts=[(1, "a", None)]))
        if sink.capabilities.stores_offsets:
            sink.stage_offsets({P0: 17})
        self.rollback(sink)
        sink.flush()
        assert self.read(sink, ORDERS) == []
        assert self.other_sink(sink).load_offsets([P0]) == {}

    def test_rows_that_are_there_are_found(self, sink: Sink) -> None:
        if not sink.capabilities.finds:
            pytest.skip("not a FindingSink")
        finding = cast("FindingSink", sink)
        sink.prepare(SEATS)
        self.give(sink, TableBatch(SEATS, upserts=[("x", None, 1), ("y", "g", 2)]))
        # In the open transaction; keys stand in key order. A value that the type does not have keeps no other back.
        keys: list[Row] = [(1, "x"), (2, "x"), (2, "y"), (3, "y")]
        assert finding.present(SEATS, keys) == [True, False, True, False]
        found = finding.present(SEATS, [(2, "y"), (1 << 70, "y"), (1, "y")])
        assert [bool(one) for one in found] == [True, False, False]
        self.give(sink, TableBatch(SEATS, deletes=[(1, "x")]), 1)
        assert finding.present(SEATS, keys) == [False, False, True, False]
        self.flush(sink)
        assert self.read(sink, SEATS) == [("y", "g", 2)]

    def test_what_is_not_flushed_is_not_seen(self, sink: Sink) -> None:
        _needs(sink.capabilities.rolls_back, "the sink has no rollback")
        sink.prepare(ORDERS)
        self.give(sink, TableBatch(ORDERS, upserts=[(1, "a", None)]))
        assert self.read(sink, ORDERS) == []
        sink.flush()
        assert self.rows(sink, ORDERS) == {(1, "a", None)}

    def test_offsets_come_back_at_the_next_assignment(self, sink: Sink) -> None:
        _needs(sink.capabilities.stores_offsets, "the sink stores no offsets")
        assert sink.load_offsets([P0, P1]) == {}
        sink.stage_offsets({P0: 17})
        sink.flush()
        sink.stage_offsets({P0: 18})
        sink.flush()
        sink.release([P0, P1])
        assert self.other_sink(sink).load_offsets([P0, P1]) == {P0: 18}

    def test_an_earlier_owner_is_fenced(self, sink: Sink) -> None:
        _needs(sink.capabilities.stores_offsets, "the sink stores no offsets")
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
        batch = TableBatch(ORDERS, upserts=[(offset, "w", None)])
        sink.apply(self.giver.given(batch, sink.capabilities, partition.partition))
        sink.stage_offsets({partition: offset})
        sink.flush()

    def test_a_table_without_a_key_is_a_multiset(self, sink: Sink) -> None:
        _needs(sink.capabilities.keyless, "the sink takes no tables without a key")
        sink.prepare(EVENTS)
        insert: list[Step] = [
            ("c", None, ("a", 1)),
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
                    *replaced(sink, ("a", 1), ("b", 1)),
                    *replaced(sink, (None, 2), (None, None)),
                    ("c", None, ("z", 9)),
                    ("d", ("z", 9), None),
                ],
            ),
        )
        assert sorted(self.read(sink, EVENTS), key=repr) == [("a", 1), ("b", 1), (None, None)]

    def test_truncate_empties_within_the_transaction(self, sink: Sink) -> None:
        _needs(sink.capabilities.truncates and not sink.capabilities.history, "the sink does not truncate")
        other = EVENTS if sink.capabilities.keyless else SEATS
        row: Row = ("a", 1) if other is EVENTS else ("a", None, 1)
        sink.prepare(ORDERS)
        sink.prepare(other)
        self.write(
            sink,
            TableBatch(ORDERS, upserts=[(1, "a", None)]),
            TableBatch(other, sequence=[("c", None, row)]) if other is EVENTS else TableBatch(other, upserts=[row]),
        )
        if sink.capabilities.rolls_back:
            sink.truncate([ORDERS, other])
            sink.rollback()
            assert self.rows(sink, ORDERS) == {(1, "a", None)}
        sink.truncate([ORDERS, other])
        self.write(sink, TableBatch(ORDERS, upserts=[(2, "b", None)]))
        assert self.rows(sink, ORDERS) == {(2, "b", None)}
        assert self.read(sink, other) == []

    def test_a_part_of_a_table_is_emptied_and_no_other(self, sink: Sink) -> None:
        _needs(sink.capabilities.clears, "not a ClearingSink")
        clearing = cast("ClearingSink", sink)
        odd = replace(
            SEATS,
            name=TableName("public", "a 50%s"),
            columns=(replace(SEATS.columns[0], name="%s hall"), *SEATS.columns[1:]),
        )
        sink.prepare(odd)
        self.write(sink, TableBatch(odd, upserts=[("it's", None, 1), ("it's", "g", 2), ("other", None, 1)]))
        clearing.clear(odd, {0: "it's"})
        sink.rollback()
        assert len(self.read(sink, odd)) == 3
        clearing.clear(odd, {0: "it's", 2: 2})
        self.write(sink, TableBatch(odd, updates=[("it's", "late", 2)]))
        assert self.rows(sink, odd) == {("it's", None, 1), ("other", None, 1)}
        clearing.clear(odd, {0: "it's"})
        sink.flush()
        assert self.rows(sink, odd) == {("other", None, 1)}

    def test_large_values_beside_their_rows_are_written_with_them(self, sink: Sink) -> None:
        _needs(sink.capabilities.streams, "not a StreamingSink")
        note = Column("note", STRING, "text")
        wide = replace(ORDERS, columns=(ORDERS.columns[0], note, Column("data", LogicalType(Family.BYTES), "bytea")))
        sink.prepare(wide)
        assert cast("StreamingSink", sink).takes_values(wide)
        text, data = "é\t😀\\n\n" * 300_000, bytes(range(256)) * 8_000
        values = [value_of(memoryview(text.encode()), is_text=True), value_of(memoryview(data), is_text=False)]
        stood = values[0].stand_in.decode(), values[1].stand_in
        # One of the first rows is refused: those beside it are written all the same.
        first = TableBatch(wide, upserts=[(1, *stood), (2, "a", b"b"), (10**30, *stood)], fresh=True, values=values)
        assert [rejection.index for rejection in sink.apply(first)] == [2]
        sink.flush()
        whole = (text, data)
        assert self.rows(sink, wide) == {(1, *whole), (2, "a", b"b")}
        again = TableBatch(
            wide, upserts=[(3, *stood)], updates=[(2, stood[0], UNCHANGED)], deletes=[(1,)], values=values
        )
        assert sink.apply(again) == []
        sink.flush()
        assert self.rows(sink, wide) == {(3, *whole), (2, text, b"b")}

    def test_a_newer_version_adds_and_drops_columns(self, sink: Sink) -> None:
        _needs(sink.capabilities.alters, "the sink does not alter tables")
        sink.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", True)]))
        sink.prepare(ORDERS_2)
        self.write(sink, TableBatch(ORDERS_2, upserts=[(2, False, "n")], updates=[(1, UNCHANGED, "late")]))
        assert self.rows(sink, ORDERS_2) == {(1, True, "late"), (2, False, "n")}

    def test_equal_keys_are_one_row(self, sink: Sink) -> None:
        _needs(not sink.capabilities.history, "a history keeps what was written")
        key = Column("amount", LogicalType(Family.NUMERIC), "numeric", nullable=False)
        table = TableSchema(TableName("public", "amounts"), (key, ORDERS.columns[1]), (0,))
        sink.prepare(table)
        self.write(sink, TableBatch(table, upserts=[(Decimal(text), "old") for text in ("1.00", "2.50", "3")]))
        self.write(sink, TableBatch(table, upserts=[(Decimal("1.0"), "new")], deletes=[(Decimal("2.5"),)]))
        assert self.rows(sink, table) == {(self.kept(key, Decimal(n)), text) for n, text in ((1, "new"), (3, "old"))}

    def test_a_key_of_another_scale_is_the_same(self, sink: Sink) -> None:
        _needs(sink.capabilities.origins and not sink.capabilities.history, "the target's own types compare keys")
        keys = [LogicalType(Family.DECIMAL, precision=12, scale=scale) for scale in (2, 3)]
        columns = [Column("rate", key, f"numeric(12,{key.scale})", nullable=False) for key in keys]
        coarse = TableSchema(TableName("public", "rates"), (columns[0], ORDERS.columns[1]), (0,))
        sink.prepare(coarse)
        self.write(sink, TableBatch(coarse, upserts=[(150, "old"), (250, "old")]))
        fine = replace(coarse, version=2, columns=(columns[1], ORDERS.columns[1]))
        sink.prepare(fine)
        self.write(sink, TableBatch(fine, upserts=[(1500, "new")], deletes=[(2500,)]))
        assert self.rows(sink, fine) == {(1500, "new")}

    def test_an_older_version_after_a_newer_one_changes_nothing(self, sink: Sink) -> None:
        _needs(sink.capabilities.alters, "the sink does not alter tables")
        sink.prepare(ORDERS)
        sink.prepare(ORDERS_2)
        other = self.other_sink(sink)
        other.prepare(ORDERS)
        self.write(other, TableBatch(ORDERS_2, upserts=[(1, True, "n")]))
        assert self.rows(sink, ORDERS_2) == {(1, True, "n")}

    def test_rows_of_an_older_version_come_cut_down_to_what_is_left(self, sink: Sink) -> None:
        _needs(sink.capabilities.alters and not sink.capabilities.history, "the sink does not alter tables")
        sink.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", True)]))
        sink.prepare(ORDERS_2)
        self.write(sink, TableBatch(ORDERS_2, upserts=[(1, True, "kept"), (3, True, "x")]))
        cut = replace(ORDERS, columns=(ORDERS.columns[0], ORDERS.columns[2]))
        self.write(sink, TableBatch(cut, upserts=[(1, False), (2, True)], deletes=[(3,)]))
        assert self.rows(sink, ORDERS_2) == {(1, False, "kept"), (2, True, None)}

    def test_a_barrier_is_passed_once_when_all_have_arrived(self, sink: Sink) -> None:
        _needs(not sink.capabilities.history, "nothing waits for a history")
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
        _needs(sink.capabilities.rolls_back and not sink.capabilities.history, "the sink has no rollback")
        assert sink.arrive("b", P0, 1) is Arrival.READY
        assert sink.pass_barrier("b")
        sink.rollback()
        assert sink.arrive("b", P0, 1) is Arrival.READY
        assert sink.pass_barrier("b")
        sink.flush()
        assert sink.arrive("b", P0, 1) is Arrival.PASSED

    def test_many_tables_are_prepared_completed_and_passed_as_each_alone(self, sink: Sink) -> None:
        _needs(sink.capabilities.groups, "the sink takes one table at a time")
        group, other = cast("GroupingSink", sink), cast("GroupingSink", self.other_sink(sink))
        sink.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", None)]))
        assert group.prepare_all([ORDERS, EVENTS, SEATS]) == [False, True, True]
        self.write(sink, TableBatch(SEATS, upserts=[("h", None, 10)]))
        here = [Arriving(barrier, P0, 2) for barrier in ("b", "a")]
        there = [Arriving(barrier, P1, 2) for barrier in ("a", "b")]
        assert group.arrive_all(here) == [Arrival.WAITING, Arrival.WAITING]
        assert other.arrive_all([*there, Arriving("c", P1, 2)]) == [Arrival.READY, Arrival.READY, Arrival.WAITING]
        assert group.pass_all(["b"]) == {"b"}
        sink.flush()
        assert other.arrive_all(there) == [Arrival.READY, Arrival.PASSED]
        assert other.pass_all(["a", "b"]) == {"a"}
        other.complete_all([ORDERS, SEATS])
        other.rollback()
        assert group.arrive_all(here) == [Arrival.PASSED, Arrival.READY]
        assert group.pass_all(["a"]) == {"a"}
        group.complete_all([SEATS, ORDERS, EVENTS])
        sink.flush()
        assert group.arrive_all([*here, *here]) == [Arrival.PASSED] * 4
        assert self.rows(sink, ORDERS) == {(1, "a", None)}
        assert self.rows(sink, SEATS) == {("h", None, 10)}

    def test_partitions_that_are_claimed_together_have_offsets_and_fences_of_their_own(self, sink: Sink) -> None:
        _needs(sink.capabilities.groups, "the sink takes one table at a time")
        many = [TopicPartition(f"shop.public.t{number}", number % 3) for number in range(50)]
        sink.load_offsets(many)
        offsets = {partition: number + 1 for number, partition in enumerate(many) if number % 2}
        sink.stage_offsets(offsets)
        sink.flush()
        other = self.other_sink(sink)
        assert other.load_offsets(many[10:20]) == {p: o for p, o in offsets.items() if p in many[10:20]}
        sink.stage_offsets(dict.fromkeys(many[:10], 99))
        sink.flush()
        with pytest.raises(TailraceError, match="fenced"):
            sink.stage_offsets(dict.fromkeys(many[9:12], 100))
        sink.rollback()

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

    def test_a_truncate_is_a_change_of_a_history(self, sink: Sink) -> None:
        _needs(sink.capabilities.history, "the sink keeps no history")
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", None)]))
        self.write(sink, TableBatch(ORDERS, sequence=[("t", None, None), ("c", None, (2, "b", None))]))
        assert [seen.op for seen in sorted(self.read_history(sink, ORDERS))] == ["c", "t", "c"]
        assert self.rows(sink, ORDERS) == {(2, "b", None)}

    @pytest.mark.parametrize("together", [1, 5])
    def test_replay_from_any_flush_changes_nothing(self, sink: Sink, together: int) -> None:
        sink.prepare(ORDERS)
        batches = _story()
        for begin in range(0, len(batches), together):
            self.write(sink, *batches[begin : begin + together])
        expected = {(1, "back", True), (3, "c", False), (4, "late", None)}
        assert self.rows(sink, ORDERS) == expected
        for begin in range(0, len(batches), together):
            # Who takes over gets what follows an offset that was committed, in whatever batches.
            other = self.other_sink(sink)
            other.prepare(ORDERS)
            middle = (begin + len(batches)) // 2
            self.write(other, *batches[begin:middle])
            self.write(other, *batches[middle:])
            assert self.rows(other, ORDERS) == expected
            other.close()

    def test_what_was_cut_off_is_written_once(self, sink: Sink) -> None:
        batches = _story()
        expected = {(1, "back", True), (3, "c", False), (4, "late", None)}
        for number in range(FAULTS_MAX):
            context = self.fault(sink, number)
            _needs(context is not None, "the sink's client brings no faults about")
            table = replace(ORDERS, name=TableName("public", f"orders_{number}"))
            moved = [replace(batch, table=table) for batch in batches]
            sink.prepare(table)
            done, whole = 0, False
            assert context is not None
            with context:
                try:
                    for batch in moved:
                        self.write(sink, batch)
                        done += 1
                    whole = True
                except TailraceError as error:
                    if error.action is not Action.RETRY:
                        raise
            self.rollback(sink)
            # The offsets that were committed are those of the last flush, or earlier ones.
            self.write(sink, *moved[max(0, done - 1) :])
            assert self.rows(sink, table) == expected, f"fault {number}"
            if whole:
                return

    def test_two_instances_share_the_partitions(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        other = self.other_sink(sink)
        other.prepare(ORDERS)
        for turn in range(3):
            self.write(sink, TableBatch(ORDERS, upserts=[(turn, "even", None)]), number=0)
            self.write(other, TableBatch(ORDERS, upserts=[(100 + turn, "odd", None)]), number=1)
        # The second one leaves; the first goes on with its partition, from before what it wrote last.
        again = TableBatch(ORDERS, upserts=[(103, "odd", True)])
        self.write(other, again, number=1)
        other.close()
        self.write(sink, again, TableBatch(ORDERS, deletes=[(100,)]), number=1)
        expected = {(turn, "even", None) for turn in range(3)} | {(101, "odd", None), (102, "odd", None)}
        assert self.rows(sink, ORDERS) == expected | {(103, "odd", True)}

    def test_what_comes_late_does_not_win(self, sink: Sink) -> None:
        _needs(sink.capabilities.origins and not sink.capabilities.history, "the sink does not guard its rows")
        sink.prepare(ORDERS)
        late = [
            TableBatch(ORDERS, upserts=[(1, "old", None), (2, "old", None), (3, "old", None)]),
            TableBatch(ORDERS, updates=[(1, UNCHANGED, False)], deletes=[(3,)]),
        ]
        for batch in late:
            self.giver.given(batch, sink.capabilities)
        other = self.other_sink(sink)
        other.prepare(ORDERS)
        newer = TableBatch(ORDERS, upserts=[(1, "new", True), (3, "new", None)], deletes=[(2,)])
        self.write(other, *late, newer)
        # Who was thought dead writes what was on its way.
        self.write(sink, *late)
        assert self.rows(sink, ORDERS) == {(1, "new", True), (3, "new", None)}

    def test_a_load_that_comes_again_ends_where_it_was(self, sink: Sink) -> None:
        _needs(sink.capabilities.origins and not sink.capabilities.history, "the target has the offsets")
        sink.prepare(ORDERS)
        load = TableBatch(ORDERS, upserts=[(1, "a", None), (2, "b", None)], fresh=True)
        changes = [TableBatch(ORDERS, deletes=[(1,), (2,)]), TableBatch(ORDERS, upserts=[(2, "again", None)])]
        where = [TopicPartition(f"shop.{ORDERS.name}", 0)]
        for count in (1, 2):
            sink.load_offsets(where)
            # Who takes over before the first checkpoint begins at the load; the table may be empty by then.
            self.write(sink, load, *changes[:count])
            other = self.other_sink(sink)
            other.load_offsets(where)
            other.prepare(ORDERS)
            self.write(other, load, *changes)
            assert self.rows(sink, ORDERS) == {(2, "again", None)}
            # As when it hears of that.
            sink.release(where)

    def test_a_load_that_comes_late_does_not_win(self, sink: Sink) -> None:
        """An applier stands still in a load, longer than the group waits for it; another one has gone on by then."""
        _needs(sink.capabilities.origins and not sink.capabilities.history, "the sink does not guard its rows")
        where = [TopicPartition(f"shop.{ORDERS.name}", 0)]
        sink.prepare(ORDERS)
        sink.load_offsets(where)
        self.write(sink, TableBatch(ORDERS, upserts=[(0, "a", None)], fresh=True))
        late = TableBatch(ORDERS, upserts=[(i, "loaded", None) for i in range(1, 61)], fresh=True)
        self.giver.given(late, sink.capabilities)
        other = self.other_sink(sink)
        other.load_offsets(where)
        other.prepare(ORDERS)
        self.write(other, late, TableBatch(ORDERS, upserts=[(1, "new", True)], deletes=[(2,), (3,)]))
        self.write(other, TableBatch(ORDERS, upserts=[(3, "again", None)]))
        expected = {(0, "a", None), (1, "new", True), (3, "again", None), *((i, "loaded", None) for i in range(4, 61))}
        assert self.rows(other, ORDERS) == expected
        with contextlib.suppress(TailraceError):
            # A sink may find that it is another's by now.
            self.write(sink, late)
        self.rollback(sink)
        assert self.rows(other, ORDERS) == expected

    def test_every_type_holds_its_extremes(self, sink: Sink) -> None:
        table, rows = _walk(self.samples, self.holds)
        _needs(bool(self.samples), "the sink's own tests walk the types")
        sink.prepare(table)
        self.write(sink, TableBatch(table, upserts=rows))
        found = {row[0]: row for row in self.read(sink, table)}
        assert len(found) == len(rows)
        for row in rows:
            for column, wanted, value in zip(table.columns, row, found[row[0]], strict=True):
                assert repr(value) == repr(self.kept(column, wanted)), f"{column.native} ({column.type})"

    def test_a_row_that_is_refused_stands_alone(self, sink: Sink) -> None:
        unfit = [(s, v) for s in self.samples for v in s.values if not self.holds(s.type, v)]
        _needs(bool(unfit), "the target holds every value of the samples")
        for place, (sample, value) in enumerate(unfit):
            column = Column("v", sample.type, sample.native)
            table = TableSchema(TableName("public", f"unfit_{place}"), (ORDERS.columns[0], column), (0,))
            sink.prepare(table)
            batch = TableBatch(table, upserts=[(1, None), (2, value), (3, None)])
            rejections = sink.apply(self.giver.given(batch, sink.capabilities))
            assert [(r.index, r.error.kind) for r in rejections] == [(1, ErrorKind.ROW_REJECTED)], sample
            sink.flush()
            assert self.rows(sink, table) == {(1, None), (3, None)}

    def test_a_new_instance_goes_on(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", None), (2, "b", None)]))
        if sink.capabilities.rolls_back:
            # Nothing that is not flushed survives its process.
            self.give(sink, TableBatch(ORDERS, deletes=[(2,)]))
        sink.close()
        other = self.other_sink(sink)
        other.prepare(ORDERS)
        assert self.rows(other, ORDERS) == {(1, "a", None), (2, "b", None)}
        self.write(other, TableBatch(ORDERS, updates=[(2, "c", UNCHANGED)], deletes=[(1,)]))
        assert self.rows(other, ORDERS) == {(2, "c", None)}


FAULTS_MAX = 12
"""Requests that are made to fail, one after another, until a story is told without one."""


def _needs(capable: bool, otherwise: str) -> None:
    if not capable:
        pytest.skip(otherwise)


def _story() -> list[TableBatch]:
    """Return batches that do everything to a few rows."""
    return [
        TableBatch(ORDERS, upserts=[(1, "a", None), (2, "b", None)], fresh=True),
        TableBatch(ORDERS, upserts=[(3, "c", True)], deletes=[(1,)]),
        TableBatch(ORDERS, updates=[(3, UNCHANGED, False)], upserts=[(4, "d", None)]),
        TableBatch(ORDERS, upserts=[(1, "back", True)], deletes=[(2,)]),
        TableBatch(ORDERS, updates=[(4, "late", UNCHANGED), (2, "gone", UNCHANGED)]),
    ]


def _walk(samples: Sequence[TypeSample], holds: Any) -> tuple[TableSchema, list[Row]]:
    """Return a table with a column for each type, and rows that hold all values."""
    columns = tuple(Column(f"c{place}", sample.type, sample.native) for place, sample in enumerate(samples))
    values = [[v for v in sample.values if holds(sample.type, v)] for sample in samples]
    longest = max(map(len, values), default=0)
    rows: list[Row] = [(n, *(column[n] if n < len(column) else None for column in values)) for n in range(longest + 1)]
    table = TableSchema(TableName("public", "walk"), (replace(ORDERS.columns[0], name="n"), *columns), (0,))
    return table, rows
