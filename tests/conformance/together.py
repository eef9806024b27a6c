"""What the suite asks of a sink that takes many tables at once, while others alter them."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from apply.sink import Arrival, Arriving, GroupingSink, Sink, TableBatch, TopicPartition
from schemas.errors import TailraceError
from schemas.table import Column, TableName
from tests.conformance.frame import Frame, needs
from tests.conformance.tables import EVENTS, ORDERS, P0, P1, SEATS, STRING
from tests.conformance.under_death import TRIPS

STOPS = replace(TRIPS, name=TableName("public", "stops"))
TRIPS_2 = replace(TRIPS, version=2, columns=(*TRIPS.columns, Column("more", STRING, "text")))


class Together(Frame):
    """A part of `SinkSuite`."""

    def test_many_tables_are_prepared_completed_and_passed_as_each_alone(self, sink: Sink) -> None:
        needs(sink.capabilities.groups, "the sink takes one table at a time")
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
        needs(sink.capabilities.groups, "the sink takes one table at a time")
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

    def test_a_table_that_another_alters_after_a_group_was_prepared_is_looked_at_anew(self, sink: Sink) -> None:
        needs(sink.capabilities.groups, "the sink takes one table at a time")
        other = self.other_sink(sink)
        assert cast("GroupingSink", sink).prepare_all([TRIPS, STOPS]) == [True, True]
        sink.rollback()
        other.prepare(TRIPS_2)
        other.flush()
        sink.prepare(TRIPS_2)
        self.write(sink, TableBatch(TRIPS_2, upserts=[(1, "a", True, "n")]))
        assert self.rows(sink, TRIPS_2) == {(1, "a", True, "n")}
