"""What the suite asks of transactions: rows, offsets and barriers hold together, and who was fenced writes nothing."""

from __future__ import annotations

import pytest

from apply.sink import Arrival, Sink, TableBatch, TopicPartition
from schemas.errors import ErrorKind, TailraceError
from tests.conformance.frame import Frame, needs
from tests.conformance.tables import ORDERS, P0, P1


class OfTransactions(Frame):
    """A part of `SinkSuite`."""

    def test_what_is_not_flushed_is_not_seen(self, sink: Sink) -> None:
        needs(sink.capabilities.rolls_back, "the sink has no rollback")
        sink.prepare(ORDERS)
        self.give(sink, TableBatch(ORDERS, upserts=[(1, "a", None)]))
        assert self.read(sink, ORDERS) == []
        sink.flush()
        assert self.rows(sink, ORDERS) == {(1, "a", None)}

    def test_rolled_back_rows_and_offsets_are_gone(self, sink: Sink) -> None:
        needs(sink.capabilities.rolls_back, "the sink has no rollback")
        sink.prepare(ORDERS)
        sink.load_offsets([P0])
        self.give(sink, TableBatch(ORDERS, upserts=[(1, "a", None)]))
        if sink.capabilities.stores_offsets:
            sink.stage_offsets({P0: 17})
        self.rollback(sink)
        sink.flush()
        assert self.read(sink, ORDERS) == []
        assert self.other_sink(sink).load_offsets([P0]) == {}

    def test_offsets_come_back_at_the_next_assignment(self, sink: Sink) -> None:
        needs(sink.capabilities.stores_offsets, "the sink stores no offsets")
        assert sink.load_offsets([P0, P1]) == {}
        sink.stage_offsets({P0: 17})
        sink.flush()
        sink.stage_offsets({P0: 18})
        sink.flush()
        sink.release([P0, P1])
        assert self.other_sink(sink).load_offsets([P0, P1]) == {P0: 18}

    def test_an_earlier_owner_is_fenced(self, sink: Sink) -> None:
        needs(sink.capabilities.stores_offsets, "the sink stores no offsets")
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

    def test_a_barrier_is_passed_once_when_all_have_arrived(self, sink: Sink) -> None:
        needs(not sink.capabilities.history, "nothing waits for a history")
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
        needs(sink.capabilities.rolls_back and not sink.capabilities.history, "the sink has no rollback")
        assert sink.arrive("b", P0, 1) is Arrival.READY
        assert sink.pass_barrier("b")
        sink.rollback()
        assert sink.arrive("b", P0, 1) is Arrival.READY
        assert sink.pass_barrier("b")
        sink.flush()
        assert sink.arrive("b", P0, 1) is Arrival.PASSED
