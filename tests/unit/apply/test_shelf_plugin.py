"""The sink of documents that the documentation shows passes the conformance suite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from apply.sink import Sink
from schemas.changes import Row
from schemas.table import TableSchema
from tests.conformance.sink_suite import SinkSuite
from tests.kit.shelf_plugin import Shelf, ShelfSink


class TestShelfSink(SinkSuite):
    @pytest.fixture
    def sink(self, tmp_path: Path) -> Iterator[Sink]:
        self.path = str(tmp_path / "shelf.db")
        self.opened: list[ShelfSink] = []
        yield self.open()
        for sink in self.opened:
            sink.close()

    def open(self) -> ShelfSink:
        self.opened.append(ShelfSink(self.path, "shop/shelf"))
        return self.opened[-1]

    def other_sink(self, sink: Sink) -> Sink:
        return self.open()

    def read(self, sink: Sink, table: TableSchema) -> list[Row]:
        with closing(Shelf(self.path)) as reader:
            return list(reader.rows(table))
