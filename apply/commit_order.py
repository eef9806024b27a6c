"""The order of the source's commits: what it had committed up to some mark of the transactions topic, and no more.

Records of one partition stand in commit order; marks count the records of every topic. So it is known when all up
to a mark is here, however late Kafka shows some partition and however silent most of them are. What follows the mark is
kept back, and a batch ends where the source's transactions do.

Pure logic: who consumes and writes asks it. Invariant 8: what is kept back is bounded by pausing the partitions that
are ahead; what is let through by a batch's bounds and one mark.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from apply.batching.batch import Record, by_partition
from apply.batching.mark_counts import MarkCounts
from apply.batching.reorder_buffer import ReorderBuffer
from apply.schema_catalog import SchemaCatalog
from apply.sink import TopicPartition
from runtime.logging import get_logger
from schemas.errors import ErrorKind, TailraceError
from schemas.position import epoch_of, first_sequence
from schemas.transactions import Mark, mark_of

log = get_logger(__name__)

MARKS_MAX = 5_000
"""Marks that wait; then the transactions topic is paused."""
STEP_RECORDS_MAX = 2_000
"""Marks that count so many records are gone through at once; then it is looked how large the batch has become."""


class CommitOrder:
    """By commit sequence, up to marks. One applier must have all partitions, and that of the transactions topic.

    Partitions that stand at different moments, since they were applied by key before or since no mark counts what they
    hold, are brought to the last mark first, each by itself; `exact` from then on.
    """

    _waiting: deque[tuple[Mark, int]]
    """Marks that are read, with their offsets, and not reached."""
    _next_mark: int
    _reached: int | None
    """The commit sequence of the last mark that was a goal."""
    _marks_end: int | None
    _goal: Mark | None
    """What the batch in the making goes up to."""

    def __init__(
        self,
        marks: TopicPartition,
        positions: Mapping[TopicPartition, int],
        reach: Callable[[TopicPartition, int], None],
        buffer: ReorderBuffer,
        ends: Callable[[Iterable[str]], Mapping[tuple[str, int], int]],
        monotonic: Callable[[], float],
        *,
        cuts: bool = False,
    ) -> None:
        """`positions` are the next offsets to let through; `reach` moves that of `marks`. `ends` returns the ends of
        topics, records of open Kafka transactions included. If it `cuts`, transactions need not be whole, and
        partitions that do not stand at one mark are an error: nothing may come out of order.
        """
        self._cuts = cuts
        self.marks = marks
        self._positions = positions
        self._reach = reach
        self._read_ends = ends
        self._buffer = buffer
        self._counts = MarkCounts(positions, buffer, ends, monotonic)
        self.exact = True
        self.forget()

    def begin(self, *, exact: bool) -> None:
        """Take over partitions that all stand at one mark (`exact`), or at different moments. Raises PREREQUISITE where
        it cannot catch up.
        """
        if not exact:
            self._lose_exactness()
        self.exact = exact
        self.forget()

    def forget(self) -> None:
        """See `apply.order.Order`."""
        self._waiting = deque()
        self._next_mark = -1
        self._reached = None
        self._marks_end = None
        self._buffer.clear()
        self._clear()

    def drop(self, partition: TopicPartition) -> None:
        """See `apply.order.Order`."""
        if partition == self.marks:
            self._waiting.clear()
            self._next_mark = -1
        self._buffer.drop(partition)

    def taken(self) -> None:
        """See `apply.order.Order`."""
        if self.exact and not self._counts.missing():
            self._clear()

    @property
    def ready(self) -> bool:
        """See `apply.order.Order`."""
        return self._goal is not None and (not self.exact or not self._counts.missing())

    @property
    def whole(self) -> bool:
        """See `apply.order.Order`."""
        return self._cuts or (self._goal is not None and self._goal.whole)

    @property
    def pending(self) -> bool:
        """See `apply.order.Order`."""
        return bool(self._buffer or self._waiting or self._goal is not None)

    def keeps(self, partition: TopicPartition) -> bool:
        """See `apply.order.Order`."""
        return partition in self._buffer or (partition == self.marks and bool(self._waiting))

    def ends(self, eof: Mapping[Any, int], flushed: Mapping[TopicPartition, int]) -> Mapping[Any, int]:
        """See `apply.order.Order`. Offsets without one among the marks would say that they were written by key."""
        return {} if self._cuts and not flushed.get(self.marks) else eof

    def to_pause(self) -> Collection[TopicPartition]:
        """See `apply.order.Order`."""
        # Only partitions that have passed the goal already: nobody waits for them.
        ahead = self._buffer.to_pause()
        return {*ahead, self.marks} if len(self._waiting) > MARKS_MAX else ahead

    def admit(self, records: list[Record]) -> list[Record]:
        """See `apply.order.Order`."""
        admitted: list[Record] = []
        for partition, group in by_partition(records).items():
            position = self._positions.get(partition)
            if position is None:
                continue
            if partition == self.marks:
                self._take_marks(max(position, self._next_mark), group)
                continue
            end_of_kept = self._buffer.end_of(partition)
            position = position if end_of_kept is None else end_of_kept
            if group[0].offset() < position:
                group = [r for r in group if r.offset() >= position]
            if end_of_kept is not None or self._goal is None:
                self._buffer.add(partition, group)
            elif group:
                group = self._buffer.split(partition, group, self._goal.seq)
                self._counts.count(partition.topic, group)
                admitted += group
        return admitted

    def advance(self, eof: Mapping[Any, int], room: int) -> list[Record] | None:
        """See `apply.order.Order`."""
        if not self.exact:
            return self._catch_up(eof)
        if self._goal is not None and self._counts.missing():
            self._counts.look_for_ends(eof)
            return None
        goal, left = self._goal, min(room, STEP_RECORDS_MAX)
        while self._waiting and left > 0:
            mark, offset = self._waiting[0]
            left -= mark.record_count
            if goal is not self._goal and left < 0:
                break
            if self._is_gap(mark):
                if goal is None:
                    self._lose_exactness()
                self.exact = goal is not None
                break
            if goal is not None and goal.whole and not mark.whole:
                # What is whole need not wait for the end of a transaction that spans several marks.
                break
            self._waiting.popleft()
            self._reach(self.marks, offset + 1)
            self._reached = mark.seq
            self._counts.need(mark.counts)
            goal = mark
        return None if goal is self._goal or goal is None else self._aim(goal)

    def _lose_exactness(self) -> None:
        if self._cuts:
            raise TailraceError(
                ErrorKind.PREREQUISITE,
                "partitions stand at different moments, and the target takes changes in the order of commits alone",
                remedy="`tailrace reset` the target, empty it, and begin anew",
            )

    def _catch_up(self, eof: Mapping[Any, int]) -> list[Record] | None:
        """Bring partitions that stand at different moments to one mark, which is behind all that was ever applied."""
        if self._marks_end is None:
            # Whatever was applied was committed to Kafka together with a mark, or before the first one.
            self._marks_end = self._read_ends([self.marks.topic])[self.marks.topic, self.marks.partition]
        if self._goal is None:
            last = self._waiting[-1][1] + 1 if self._waiting else 0
            if max(last, self._next_mark, self._positions[self.marks], eof.get(self.marks, 0)) < self._marks_end:
                return None
            whole = [n for n, (mark, _) in enumerate(self._waiting) if mark.whole]
            if not whole:
                return None
            for _ in range(whole[-1]):
                self._waiting.popleft()
            return self._aim(self._waiting[0][0])
        self._counts.need_all({p.topic for p in self._positions if p != self.marks})
        self._counts.look_for_ends(eof, at_once=True)
        if self._counts.missing():
            return None
        mark, offset = self._waiting.popleft()
        self._reach(self.marks, offset + 1)
        self._reached = mark.seq
        self.exact = True
        log.info("all partitions stand at one commit sequence", sequence=mark.seq)
        return []

    def _aim(self, mark: Mark) -> list[Record]:
        """Make a mark the goal; return what is kept and may be let through now."""
        self._goal = mark
        self._counts.begin()
        admitted: list[Record] = []
        for partition, records in self._buffer.take(mark.seq):
            self._counts.count(partition.topic, records)
            admitted += records
        return admitted

    def _clear(self) -> None:
        self._goal = None
        self._counts.clear()

    def _take_marks(self, position: int, records: Sequence[Record]) -> None:
        for record in records:
            if record.offset() >= position:
                mark = mark_of(record.key(), record.value())
                if mark is not None:
                    self._waiting.append((mark, record.offset()))
                self._next_mark = record.offset() + 1
        if not self.exact and self._goal is None and len(self._waiting) > MARKS_MAX:
            # Only the last whole one counts; those before it need not be remembered.
            last = max((n for n, (mark, _) in enumerate(self._waiting) if mark.whole), default=0)
            for _ in range(last):
                self._waiting.popleft()

    def _is_gap(self, mark: Mark) -> bool:
        """Tell whether records may precede a mark that no mark counts, of topics from before there were marks."""
        if self._reached is not None:
            return mark.after != self._reached
        # The first one after a start: all before it is applied, unless it is the first of all.
        return self._positions[self.marks] == 0 and mark.after != first_sequence(max(1, epoch_of(mark.after)))


def sequence_reader(catalog: SchemaCatalog) -> Callable[[Record], int]:
    """Return what reads a record's commit sequence. It raises DECODE."""

    def sequence_of(record: Record) -> int:
        topic, value = record.topic(), record.value()
        return catalog.decoder(topic, catalog.mark_of(topic, value)).facts(value).seq

    return sequence_of
