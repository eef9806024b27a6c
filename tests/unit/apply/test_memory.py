"""The in-memory sink passes the conformance suite: it is the reference."""

from __future__ import annotations

from typing import cast

import pytest

from apply.memory import MemorySink, MemoryTarget
from apply.sink import Sink
from schemas.changes import Row
from schemas.table import TableSchema
from tests.conformance.sink_suite import SinkSuite


class TestMemorySink(SinkSuite):
    @pytest.fixture
    def sink(self) -> Sink:
        return MemorySink(MemoryTarget())

    def other_sink(self, sink: Sink) -> Sink:
        return MemorySink(cast("MemorySink", sink).target)

    def read(self, sink: Sink, table: TableSchema) -> list[Row]:
        return cast("MemorySink", sink).target.read(table.name)
