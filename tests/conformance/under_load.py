"""What the suite asks of a sink that much is written to: it keeps none of it, and its slowness reaches back."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

from apply.applier import CONGESTION_S
from apply.limits import Limits
from apply.sink import Sink, TableBatch
from schemas.table import Column, TableName, TableSchema
from tests.conformance.frame import Frame, needs
from tests.conformance.tables import INT64, STRING
from tests.unit.apply.rig import Rig

NOTES = TableSchema(
    name=TableName("public", "notes"),
    columns=(
        Column("id", INT64, "bigint", nullable=False),
        Column("text", STRING, "text"),
    ),
    key=(0,),
)
ROWS = 100
ROW_BYTES = 6_000
BATCHES = 6


class UnderLoad(Frame):
    """A part of `SinkSuite`."""

    def test_memory_does_not_grow_with_what_was_written(self, sink: Sink) -> None:
        needs(not self.keeps_in_process, "the target is in this process")
        sink.prepare(NOTES)
        self._write_much(sink, 0)
        tracemalloc.start()
        try:
            self._write_much(sink, 1)
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for turn in range(2, BATCHES):
                self._write_much(sink, turn)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert grown < ROWS * ROW_BYTES, f"{grown:,} bytes more after {(BATCHES - 2) * ROWS * ROW_BYTES:,} were written"
        assert len(self.rows(sink, NOTES)) == ROWS

    def _write_much(self, sink: Sink, turn: int) -> None:
        text = f"{turn}{'x' * ROW_BYTES}"
        self.write(sink, TableBatch(NOTES, upserts=[(i, f"{i}.{text}") for i in range(ROWS)]))
        self.giver.forget_batches()

    def test_an_applier_takes_in_no_more_than_a_slow_target_writes(self, sink: Sink) -> None:
        rig = Rig([NOTES])
        member = rig.member(take_all=True, other=sink, limits=Limits(batch_rows=20))
        applier, held = member.applier, _Held()
        applier.writer.patient = False
        for i in range(200):
            rig.topics.put(NOTES, "c", None, (i, "a"))
        fast, applier.thread.executor = applier.thread.executor, held
        for _ in range(20):
            rig.clock.now += CONGESTION_S / 4
            applier.step()
        # One batch is being written, one waits, and nothing more is asked for: yet the group hears of the member.
        assert held.jobs == 1
        assert applier.builder.batch.row_count <= 20
        assert sum(applier.cursors.positions.values()) <= 40
        assert member.consumer.paused == applier.cursors.positions.keys()
        applier.thread.executor = fast
        held.release()
        rig.settle(member, steps=1_000)
        assert self.rows(sink, NOTES) == {(i, "a") for i in range(200)}


class _Held(Executor):
    """Does what it is given when it is told to."""

    def __init__(self) -> None:
        self.jobs = 0
        self._waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.jobs += 1
        future: Future[Any] = Future()
        self._waiting.append((future, lambda: fn(*args, **kwargs)))
        return future

    def release(self) -> None:
        """Do it, in another thread as the service's writer does."""
        for future, job in self._waiting:
            with ThreadPoolExecutor(1) as thread:
                future.set_result(thread.submit(job).result())
        self._waiting.clear()
