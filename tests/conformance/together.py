"""What the suite asks of a sink that takes many tables at once, while others alter them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import cast

import pytest

from apply.sink import GroupingSink, Sink, TableBatch
from schemas.changes import Row
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.conformance.under_death import TRIPS

STOPS = replace(TRIPS, name=TableName("public", "stops"))
TRIPS_2 = replace(TRIPS, version=2, columns=(*TRIPS.columns, Column("more", LogicalType(Family.STRING), "text")))


class Together(ABC):
    """A part of `SinkSuite`."""

    @abstractmethod
    def other_sink(self, sink: Sink) -> Sink: ...

    @abstractmethod
    def rows(self, sink: Sink, table: TableSchema) -> set[Row]: ...

    @abstractmethod
    def write(self, sink: Sink, batch: TableBatch) -> None: ...

    def test_a_table_that_another_alters_after_a_group_was_prepared_is_looked_at_anew(self, sink: Sink) -> None:
        if not sink.capabilities.groups:
            pytest.skip("the sink takes one table at a time")
        other = self.other_sink(sink)
        assert cast("GroupingSink", sink).prepare_all([TRIPS, STOPS]) == [True, True]
        sink.rollback()
        other.prepare(TRIPS_2)
        other.flush()
        sink.prepare(TRIPS_2)
        self.write(sink, TableBatch(TRIPS_2, upserts=[(1, "a", True, "n")]))
        assert self.rows(sink, TRIPS_2) == {(1, "a", True, "n")}
