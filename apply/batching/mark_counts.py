"""How many records of each topic are here of those that marks count, and what else tells that none is missing."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

from apply.batching.batch import Record
from apply.sink import TopicPartition
from runtime.logging import get_logger

log = get_logger(__name__)

STALL_S = 1.0
"""After so long without what a mark counts, the topics' ends are asked for: compaction may have removed records."""
STALL_LOG_S = 30.0
WHATEVER_THERE_IS = 1 << 62


class MarkCounts:
    """What is needed up to a goal, and what of it is here."""

    _needed: dict[str, int]
    _counted: dict[str, int]
    _passed: set[str]
    """Topics of which nothing up to the goal is missing, whatever the counts say."""
    _ends: dict[str, dict[TopicPartition, int]]
    _stalled_at: float | None
    _logged_at: float

    def __init__(
        self,
        positions: Mapping[TopicPartition, int],
        kept: Container[TopicPartition],
        ends: Callable[[Iterable[str]], Mapping[tuple[str, int], int]],
        monotonic: Callable[[], float],
    ) -> None:
        """A partition of which something is `kept` has passed the goal. `ends` returns the ends of topics, records of
        open Kafka transactions included.
        """
        self._positions = positions
        self._kept = kept
        self._read_ends = ends
        self._monotonic = monotonic
        self.clear()

    def clear(self) -> None:
        """Begin for another batch."""
        self._needed = {}
        self._counted = {}
        self._logged_at = 0.0
        self.begin()

    def begin(self) -> None:
        """Begin for a goal that is further on in the same batch: what was found out for the last one does not hold."""
        self._stalled_at = None
        self._ends = {}
        self._passed = set()

    def need(self, counts: Mapping[str, int]) -> None:
        """Take in what a mark counts."""
        for topic, count in counts.items():
            self._needed[topic] = self._needed.get(topic, 0) + count

    def need_all(self, topics: Iterable[str]) -> None:
        """Take in that all is needed that topics hold, however much that is."""
        self._needed.update(dict.fromkeys(topics, WHATEVER_THERE_IS))

    def count(self, topic: str, records: Sequence[Record]) -> None:
        """Take in records up to the goal. Marks do not count tombstones either."""
        values = sum([1 for r in records if r.value() is not None])
        self._counted[topic] = self._counted.get(topic, 0) + values

    def missing(self) -> list[str]:
        """Return the topics of which not everything up to the goal is here."""
        counted = self._counted
        return [
            topic
            for topic, needed in self._needed.items()
            if counted.get(topic, 0) < needed and topic not in self._passed
        ]

    def look_for_ends(self, eof: Mapping[Any, int], *, at_once: bool = False) -> None:
        """Find by the topics' ends that nothing more is to come, where counts do not tell.

        The goal's mark is visible, so what it counts was in the topics before their ends are asked for.
        """
        now = self._monotonic()
        self._stalled_at = now if self._stalled_at is None else self._stalled_at
        if not at_once and now - self._stalled_at < STALL_S:
            return
        known = {p.topic for p in self._positions}
        missing = [topic for topic in self.missing() if topic in known]
        unknown = [topic for topic in missing if topic not in self._ends]
        if unknown:
            for (topic, number), end in self._read_ends(unknown).items():
                self._ends.setdefault(topic, {})[TopicPartition(topic, number)] = end
        for topic in missing:
            if all(self._has_passed(p, end, eof) for p, end in self._ends.get(topic, {}).items()):
                self._passed.add(topic)
        if now - self._stalled_at > STALL_LOG_S and now - self._logged_at > STALL_LOG_S and self.missing():
            self._logged_at = now
            log.warning("waits for records that are committed", topics=sorted(self.missing())[:8])

    def _has_passed(self, partition: TopicPartition, end: int, eof: Mapping[Any, int]) -> bool:
        position = self._positions.get(partition)
        if position is None:
            return False
        return partition in self._kept or max(position, eof.get(partition, 0)) >= end
