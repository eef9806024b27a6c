"""Taking over partitions at the target: whoever claims one fences its earlier owner, and learns where it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from apply.commit_order import CommitOrder
from apply.cursors import Consumer
from apply.error_handling.survey import Progress
from apply.order import KeyOrder
from apply.sink import Sink, TopicPartition
from runtime.failpoints import hit


class Claims:
    """Claims partitions for one applier.

    `clean` receives those that no row is known to have been written of, `ahead` up to where earlier owners have written
    beside what waited.
    """

    def __init__(self, sink: Sink, clean: set[TopicPartition], ahead: dict[TopicPartition, int]) -> None:
        self._sink = sink
        self._clean = clean
        self._ahead = ahead
        self.progress: Callable[[list[TopicPartition]], Mapping[tuple[str, int], Progress]] = lambda _: {}
        """Returns what the owners of partitions have noted."""
        self.ends: Callable[[set[str]], Mapping[tuple[str, int], int]] = lambda _: {}
        """Returns the ends of topics, records of open Kafka transactions included."""
        self.before_claim: Callable[[], None] = lambda: None
        """Called before partitions are claimed: what an earlier owner has parked must be known by then."""
        self.begin: Callable[[list[TopicPartition]], Mapping[TopicPartition, int]] = lambda _: {}
        """Where partitions begin that the target has no offset of; those that it leaves out at 0."""
        self.left_order: TopicPartition | None = None
        """The partition of marks, for an applier by key: the target must not take its offsets for exact any more."""

    def claim(
        self, partitions: list[TopicPartition], order: KeyOrder | CommitOrder, consumer: Consumer
    ) -> dict[TopicPartition, int]:
        """Return the offset at which each partition begins."""
        sink = self._sink
        self.before_claim()
        hit("apply.claim.before")
        if self.left_order is not None and sink.capabilities.stores_offsets:
            if sink.load_offsets([self.left_order]).get(self.left_order):
                sink.stage_offsets({self.left_order: 0})
                sink.flush()
            sink.release([self.left_order])
            self.left_order = None
        stored = sink.load_offsets(partitions)
        hit("apply.claim.after")
        missing = [p for p in partitions if p not in stored]
        known: Mapping[tuple[str, int], int] = {} if sink.capabilities.stores_offsets else consumer.committed(missing)
        if isinstance(order, CommitOrder) and order.marks in partitions:
            # Offsets without one among the marks were written by key: they are of different moments.
            at_marks = stored.get(order.marks, known.get(order.marks, 0))
            order.begin(exact=at_marks > 0 or not any((*stored.values(), *known.values())))
        if sink.capabilities.stores_offsets:
            # A target that has no offset has no rows either, whatever the group remembers of an earlier target.
            self._clean.update(missing)
            self._look_ahead(partitions)
            begin = self.begin(missing)
            return {p: stored.get(p, begin.get(p, 0)) for p in partitions}
        unread = [p for p in missing if p not in known]
        if not sink.capabilities.history:
            # An owner that died before its first checkpoint may have written some: such sinks look for rows themselves.
            self._clean.update(unread)
        begin = self.begin(unread)
        return {p: stored.get(p, known.get(p, begin.get(p, 0))) for p in partitions}

    def _look_ahead(self, partitions: list[TopicPartition]) -> None:
        """Learn up to where earlier owners have written beyond the offsets that the target has.

        Their notes are older than what they wrote last: where rows waited by then, an owner that was killed may have
        written whatever the topic holds.
        """
        noted = {TopicPartition(*place): one for place, one in self.progress(partitions).items()}
        waited = {p for p, one in noted.items() if one.written > one.durable}
        ends = self.ends({p.topic for p in waited}) if waited else {}
        for partition, one in noted.items():
            end = ends.get(partition, 0) if partition in waited else 0
            self._ahead[partition] = max(end, one.written, self._ahead.get(partition, 0))
