"""What the suite asks of values: they arrive as they were, and a row that the target cannot hold is refused alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from apply.sink import Sink, StreamingSink, TableBatch
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind
from schemas.large_values import value_of
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.conformance.frame import Frame, needs
from tests.conformance.tables import EVENTS, ORDERS, STRING
from tests.kit.type_samples import TypeSample


class OfValues(Frame):
    """A part of `SinkSuite`."""

    def test_odd_texts_arrive_as_they_were(self, sink: Sink) -> None:
        needs(sink.capabilities.keyless, "the sink takes no tables without a key")
        sink.prepare(EVENTS)
        texts = ["", " ", "\\N", "a\tb\nc\\d\r", "'\"", "𝔘🎉", "NULL", "x" * 10_000]
        self.write(sink, TableBatch(EVENTS, sequence=[("c", None, (text, 1)) for text in texts]))
        assert sorted(row[0] for row in self.read(sink, EVENTS)) == sorted(texts)

    def test_every_type_holds_its_extremes(self, sink: Sink) -> None:
        table, rows = _walk(self.samples, self.holds)
        needs(bool(self.samples), "the sink's own tests walk the types")
        sink.prepare(table)
        self.write(sink, TableBatch(table, upserts=rows))
        found = {row[0]: row for row in self.read(sink, table)}
        assert len(found) == len(rows)
        for row in rows:
            for column, wanted, value in zip(table.columns, row, found[row[0]], strict=True):
                assert repr(value) == repr(self.kept(column, wanted)), f"{column.native} ({column.type})"

    def test_a_row_that_is_refused_stands_alone(self, sink: Sink) -> None:
        unfit = [(s, v) for s in self.samples for v in s.values if not self.holds(s.type, v)]
        needs(bool(unfit), "the target holds every value of the samples")
        for place, (sample, value) in enumerate(unfit):
            column = Column("v", sample.type, sample.native)
            table = TableSchema(TableName("public", f"unfit_{place}"), (ORDERS.columns[0], column), (0,))
            sink.prepare(table)
            batch = TableBatch(table, upserts=[(1, None), (2, value), (3, None)])
            rejections = sink.apply(self.giver.given(batch, sink.capabilities))
            assert [(r.index, r.error.kind) for r in rejections] == [(1, ErrorKind.ROW_REJECTED)], sample
            sink.flush()
            assert self.rows(sink, table) == {(1, None), (3, None)}

    def test_large_values_beside_their_rows_are_written_with_them(self, sink: Sink) -> None:
        needs(sink.capabilities.streams, "not a StreamingSink")
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


def _walk(samples: Sequence[TypeSample], holds: Any) -> tuple[TableSchema, list[Row]]:
    """Return a table with a column for each type, and rows that hold all values."""
    columns = tuple(Column(f"c{place}", sample.type, sample.native) for place, sample in enumerate(samples))
    values = [[v for v in sample.values if holds(sample.type, v)] for sample in samples]
    longest = max(map(len, values), default=0)
    rows: list[Row] = [(n, *(column[n] if n < len(column) else None for column in values)) for n in range(longest + 1)]
    table = TableSchema(TableName("public", "walk"), (replace(ORDERS.columns[0], name="n"), *columns), (0,))
    return table, rows
