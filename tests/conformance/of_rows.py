"""What the suite asks of rows: they are written, changed and deleted by their keys, each once."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import cast

from apply.sink import FindingSink, Sink, TableBatch
from schemas.changes import UNCHANGED, Row
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.conformance.changes import Step, replaced
from tests.conformance.frame import Frame, needs
from tests.conformance.tables import EVENTS, ORDERS, SEATS


class OfRows(Frame):
    """A part of `SinkSuite`."""

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

    def test_rows_that_are_there_are_found(self, sink: Sink) -> None:
        needs(sink.capabilities.finds, "not a FindingSink")
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

    def test_a_table_without_a_key_is_a_multiset(self, sink: Sink) -> None:
        needs(sink.capabilities.keyless, "the sink takes no tables without a key")
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

    def test_equal_keys_are_one_row(self, sink: Sink) -> None:
        needs(not sink.capabilities.history, "a history keeps what was written")
        key = Column("amount", LogicalType(Family.NUMERIC), "numeric", nullable=False)
        table = TableSchema(TableName("public", "amounts"), (key, ORDERS.columns[1]), (0,))
        sink.prepare(table)
        self.write(sink, TableBatch(table, upserts=[(Decimal(text), "old") for text in ("1.00", "2.50", "3")]))
        self.write(sink, TableBatch(table, upserts=[(Decimal("1.0"), "new")], deletes=[(Decimal("2.5"),)]))
        assert self.rows(sink, table) == {(self.kept(key, Decimal(n)), text) for n, text in ((1, "new"), (3, "old"))}

    def test_a_key_of_another_scale_is_the_same(self, sink: Sink) -> None:
        needs(sink.capabilities.origins and not sink.capabilities.history, "the target's own types compare keys")
        keys = [LogicalType(Family.DECIMAL, precision=12, scale=scale) for scale in (2, 3)]
        columns = [Column("rate", key, f"numeric(12,{key.scale})", nullable=False) for key in keys]
        coarse = TableSchema(TableName("public", "rates"), (columns[0], ORDERS.columns[1]), (0,))
        sink.prepare(coarse)
        self.write(sink, TableBatch(coarse, upserts=[(150, "old"), (250, "old")]))
        fine = replace(coarse, version=2, columns=(columns[1], ORDERS.columns[1]))
        sink.prepare(fine)
        self.write(sink, TableBatch(fine, upserts=[(1500, "new")], deletes=[(2500,)]))
        assert self.rows(sink, fine) == {(1500, "new")}
