"""Whether all that a waiting row could wait for has come: everybody is where the topics ended when it was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from apply.sink import TopicPartition

Ends = Callable[[], Mapping[tuple[str, int], int]]
"""Returns the ends of all partitions of all tables' topics, records of open Kafka transactions included."""
Committed = Callable[[list[TopicPartition]], Mapping[Any, int]]
"""Returns the offsets that the group has committed."""

INTERVAL_S = 0.5
"""How often other appliers' offsets are asked for."""


class Survey:
    """The ends of the topics at one moment, less the partitions that are passed."""

    def __init__(self, ends: Mapping[tuple[str, int], int], now: float) -> None:
        self.asked_at = now
        self._left = {TopicPartition(*p): end for p, end in ends.items() if end > 0}
        self._others: Mapping[Any, int] = {}
        self._next_look = self._moved_at = now

    def passed(
        self,
        positions: Mapping[TopicPartition, int],
        eof: Mapping[Any, int],
        standing: Iterable[TopicPartition],
        committed: Committed,
        patience_s: float,
        now: float,
    ) -> bool:
        """Tell whether all have passed: but for partitions that are held, and for those of other appliers that have not
        moved for `patience_s`.
        """
        held = {*standing}
        for partition in [p for p in self._left if p in positions]:
            if max(positions[partition], eof.get(partition, 0)) >= self._left[partition]:
                del self._left[partition]
        others = [p for p in self._left if p not in positions]
        if others and now >= self._next_look:
            self._next_look = now + INTERVAL_S
            found = committed(others)
            if found != self._others:
                self._others, self._moved_at = found, now
            for partition in others:
                if found.get(partition, -1) >= self._left[partition]:
                    del self._left[partition]
        # What is held now may go on later, and has yet to pass then.
        left = [p for p in self._left if p not in held or p not in positions]
        return all(p not in positions for p in left) and (not left or now - self._moved_at >= patience_s)
