"""What the suite asks of tables: they are made, altered, emptied, and completed once they are loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from apply.sink import Arrival, ClearingSink, Sink, TableBatch
from schemas.changes import UNCHANGED, Row
from schemas.table import TableName
from tests.conformance.frame import Frame, needs
from tests.conformance.tables import EVENTS, ORDERS, ORDERS_2, P0, SEATS


class OfTables(Frame):
    """A part of `SinkSuite`."""

    def test_prepare_can_be_repeated(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        sink.prepare(ORDERS)
        assert sink.is_empty(ORDERS) or sink.capabilities.history
        assert self.read(sink, ORDERS) == []

    def test_complete_load_can_be_repeated(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", None)]))
        sink.complete_load(ORDERS)
        sink.complete_load(ORDERS)
        sink.flush()
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "b", None)]))
        assert self.rows(sink, ORDERS) == {(1, "b", None)}

    def test_a_newer_version_adds_and_drops_columns(self, sink: Sink) -> None:
        needs(sink.capabilities.alters, "the sink does not alter tables")
        sink.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", True)]))
        sink.prepare(ORDERS_2)
        self.write(sink, TableBatch(ORDERS_2, upserts=[(2, False, "n")], updates=[(1, UNCHANGED, "late")]))
        assert self.rows(sink, ORDERS_2) == {(1, True, "late"), (2, False, "n")}

    def test_an_older_version_after_a_newer_one_changes_nothing(self, sink: Sink) -> None:
        needs(sink.capabilities.alters, "the sink does not alter tables")
        sink.prepare(ORDERS)
        sink.prepare(ORDERS_2)
        other = self.other_sink(sink)
        other.prepare(ORDERS)
        self.write(other, TableBatch(ORDERS_2, upserts=[(1, True, "n")]))
        assert self.rows(sink, ORDERS_2) == {(1, True, "n")}

    def test_rows_of_an_older_version_come_cut_down_to_what_is_left(self, sink: Sink) -> None:
        needs(sink.capabilities.alters and not sink.capabilities.history, "the sink does not alter tables")
        sink.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", True)]))
        sink.prepare(ORDERS_2)
        self.write(sink, TableBatch(ORDERS_2, upserts=[(1, True, "kept"), (3, True, "x")]))
        cut = replace(ORDERS, columns=(ORDERS.columns[0], ORDERS.columns[2]))
        self.write(sink, TableBatch(cut, upserts=[(1, False), (2, True)], deletes=[(3,)]))
        assert self.rows(sink, ORDERS_2) == {(1, False, "kept"), (2, True, None)}

    def test_truncate_empties_within_the_transaction(self, sink: Sink) -> None:
        needs(sink.capabilities.truncates and not sink.capabilities.history, "the sink does not truncate")
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
        needs(sink.capabilities.clears, "not a ClearingSink")
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

    def test_a_truncate_is_a_change_of_a_history(self, sink: Sink) -> None:
        needs(sink.capabilities.history, "the sink keeps no history")
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", None)]))
        self.write(sink, TableBatch(ORDERS, sequence=[("t", None, None), ("c", None, (2, "b", None))]))
        assert [seen.op for seen in sorted(self.read_history(sink, ORDERS))] == ["c", "t", "c"]
        assert self.rows(sink, ORDERS) == {(2, "b", None)}

    def test_a_dropped_table_is_gone_and_begins_anew(self, sink: Sink) -> None:
        needs(not sink.capabilities.history, "a history outlives its tables")
        sink.load_offsets([P0])
        for table in (ORDERS, SEATS):
            sink.prepare(table)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", None), (2, "b", None)]))
        self.write(sink, TableBatch(SEATS, upserts=[("h", "g", 1)]))
        for life in (1, 2):
            # The second time there is no table any more, as where somebody has dropped it by hand.
            sink.arrive(f"drop-{life}", P0, 1)
            assert sink.pass_barrier(f"drop-{life}")
            sink.drop(ORDERS)
            sink.flush()
        assert sink.arrive("drop-2", P0, 1) is Arrival.PASSED
        sink.prepare(ORDERS_2)
        assert sink.is_empty(ORDERS_2)
        late = TableBatch(ORDERS_2, upserts=[(2, True, "new")], updates=[(1, UNCHANGED, "no row")])
        self.write(sink, late)
        assert self.rows(sink, ORDERS_2) == {(2, True, "new")}
        assert self.rows(sink, SEATS) == {("h", "g", 1)}

    def test_what_is_kept_about_a_replication_can_be_forgotten(self, sink: Sink) -> None:
        sink.load_offsets([P0])
        sink.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", None)]))
        if sink.capabilities.stores_offsets:
            sink.stage_offsets({P0: 17})
            sink.flush()
        if not sink.capabilities.history:
            sink.arrive("b", P0, 1)
            assert sink.pass_barrier("b")
            sink.flush()
        said = sink.forget()
        assert said or sink.capabilities.history
        other = self.other_sink(sink)
        assert other.load_offsets([P0]) == {}
        if not sink.capabilities.history:
            assert other.arrive("b", P0, 1) is Arrival.READY
        assert self.rows(sink, ORDERS) == {(1, "a", None)}
