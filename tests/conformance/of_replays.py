"""What the suite asks of sinks whose appliers come and go: no replay changes anything, and nothing late wins."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from apply.sink import Sink, TableBatch, TopicPartition
from schemas.changes import UNCHANGED
from schemas.errors import Action, TailraceError
from schemas.table import TableName
from tests.conformance.frame import Frame, needs
from tests.conformance.tables import ORDERS

FAULTS_MAX = 12
"""Requests that are made to fail, one after another, until a story is told without one."""


class OfReplays(Frame):
    """A part of `SinkSuite`."""

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
            needs(context is not None, "the sink's client brings no faults about")
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
        needs(sink.capabilities.origins and not sink.capabilities.history, "the sink does not guard its rows")
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
        needs(sink.capabilities.origins and not sink.capabilities.history, "the target has the offsets")
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
        needs(sink.capabilities.origins and not sink.capabilities.history, "the sink does not guard its rows")
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

    def test_close_can_be_repeated(self, sink: Sink) -> None:
        other = self.other_sink(sink)
        other.close()
        other.close()


def _story() -> list[TableBatch]:
    """Return batches that do everything to a few rows."""
    return [
        TableBatch(ORDERS, upserts=[(1, "a", None), (2, "b", None)], fresh=True),
        TableBatch(ORDERS, upserts=[(3, "c", True)], deletes=[(1,)]),
        TableBatch(ORDERS, updates=[(3, UNCHANGED, False)], upserts=[(4, "d", None)]),
        TableBatch(ORDERS, upserts=[(1, "back", True)], deletes=[(2,)]),
        TableBatch(ORDERS, updates=[(4, "late", UNCHANGED), (2, "gone", UNCHANGED)]),
    ]
