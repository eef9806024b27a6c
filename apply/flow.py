"""Which partitions the consumer reads on, and where: everything that pauses, resumes or moves it."""

from __future__ import annotations

from collections.abc import Collection

from apply.cursors import Consumer
from apply.error_handling.holds import Holds
from apply.order import Order
from apply.sink import TopicPartition


class Flow:
    """Pauses partitions that are held, ahead of the others, unclaimed, or all of them behind a slow target."""

    def __init__(self, holds: Holds, unclaimed: Collection[TopicPartition]) -> None:
        self.consumer: Consumer
        self._cursors = holds.cursors
        self._holds = holds
        self._waiting = holds.waiting
        self._unclaimed = unclaimed
        self._ahead: set[TopicPartition] = set()
        self._stopped = False

    def stop_all(self) -> None:
        """Pause everything: the consumer is asked only to stay a member."""
        self._stopped = True
        self.consumer.pause(list(self._cursors.positions))

    def relieve(self) -> None:
        """Let the partitions go on that were paused for a slow target."""
        if self._stopped:
            self._stopped = False
            self.consumer.resume([p for p in self._cursors.positions if not self._is_paused(p)])

    def pause_ahead(self, order: Order) -> None:
        """Pause partitions of which enough is kept back or waits, and let go on those of which no more does."""
        ahead = {*order.to_pause(), *self._waiting.to_pause}
        if ahead != self._ahead:
            stopped, freed = ahead - self._ahead, self._ahead - ahead
            self._ahead = ahead
            self.consumer.pause(sorted(stopped))
            self.consumer.resume([p for p in sorted(freed) if not self._is_paused(p)])

    def gathering(self, now: float) -> bool:
        """Tell whether the batch that tries again what waits should still grow by what is at hand."""
        going = {p: offset for p, offset in self._cursors.positions.items() if not self._is_paused(p)}
        return self._waiting.gathering(going, self.consumer.eof, now)

    def seek(self, order: Order) -> None:
        """Put the consumer where the cursors' `seeks` say, after a rewind or a cut."""
        seeks = {p: offset for p, offset in self._cursors.seeks.items() if p not in self._unclaimed}
        if not seeks:
            return
        for partition in seeks:
            order.drop(partition)
        self.consumer.seek(seeks)
        self.consumer.pause([p for p in seeks if self._is_paused(p)])
        self.consumer.resume([p for p in seeks if not self._is_paused(p)])
        for partition in seeks:
            del self._cursors.seeks[partition]

    def drop(self, partition: TopicPartition) -> None:
        """Forget a partition that went to another applier."""
        self._ahead.discard(partition)

    def _is_paused(self, partition: TopicPartition) -> bool:
        return partition in self._unclaimed or partition in self._ahead or self._holds.is_held(partition)
