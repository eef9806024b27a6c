"""Records that came before their turn: of each partition those behind the commit sequence up to which all may go on.

Records of one partition stand in commit order. Invariant 8: who keeps them pauses partitions while there are too many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from apply.batching.batch import Record, size_of
from apply.sink import TopicPartition
from schemas.errors import ErrorKind, TailraceError


class ReorderBuffer:
    """What is kept back, by partition, none of which is empty."""

    def __init__(self, sequence_of: Callable[[Record], int], records_max: int, bytes_max: int) -> None:
        """`sequence_of` reads a record's commit sequence. It raises DECODE."""
        self._sequence_of = sequence_of
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._records: dict[TopicPartition, list[Record]] = {}
        self._heads: dict[TopicPartition, int] = {}
        """The commit sequence of the first record kept of each partition."""
        self._count = 0
        self._bytes = 0
        self._to_pause: set[TopicPartition] = set()

    def __contains__(self, partition: object) -> bool:
        return partition in self._records

    def __len__(self) -> int:
        return self._count

    def end_of(self, partition: TopicPartition) -> int | None:
        """Return the offset behind what is kept of a partition; None: nothing is."""
        records = self._records.get(partition)
        return records[-1].offset() + 1 if records else None

    def to_pause(self) -> set[TopicPartition]:
        """Return the partitions that are to be paused: from the bounds on, until half of it is gone."""
        if self._count > self._records_max or self._bytes > self._bytes_max:
            self._to_pause = set(self._records)
        elif self._count <= self._records_max // 2 and self._bytes <= self._bytes_max // 2:
            self._to_pause = set()
        else:
            self._to_pause.intersection_update(self._records)
        return self._to_pause

    def add(self, partition: TopicPartition, records: list[Record]) -> None:
        """Keep a partition's next records."""
        if records:
            if partition not in self._records:
                self._records[partition] = []
                self._heads[partition] = self._known(records, 0)
            self._records[partition] += records
            self._count += len(records)
            self._bytes += _size(records)

    def split(self, partition: TopicPartition, records: list[Record], goal: int) -> list[Record]:
        """Return what of a partition's next records stands up to a commit sequence, and keep the rest."""
        cut = self._cut(records, goal)
        self.add(partition, records[cut:])
        return records[:cut]

    def take(self, goal: int) -> list[tuple[TopicPartition, list[Record]]]:
        """Return, and keep no longer, what stands up to a commit sequence."""
        taken: list[tuple[TopicPartition, list[Record]]] = []
        for partition, head in list(self._heads.items()):
            if head <= goal:
                kept = self._records[partition]
                cut = self._cut(kept, goal)
                part = kept[:cut]
                taken.append((partition, part))
                self._count -= cut
                self._bytes -= _size(part)
                del kept[:cut]
                if kept:
                    self._heads[partition] = self._known(kept, 0)
                else:
                    del self._records[partition], self._heads[partition]
        return taken

    def drop(self, partition: TopicPartition) -> None:
        """Forget a partition."""
        records = self._records.pop(partition, [])
        self._heads.pop(partition, None)
        self._count -= len(records)
        self._bytes -= _size(records)

    def clear(self) -> None:
        """Forget all."""
        self._records.clear()
        self._heads.clear()
        self._count = self._bytes = 0
        self._to_pause = set()

    def _cut(self, records: Sequence[Record], goal: int) -> int:
        """Return how many of a partition's records stand before or at a commit sequence: few, or all, mostly."""
        low, high, step = 0, len(records), 1
        if self._known(records, high - 1) <= goal:
            return high
        while low + step < high and self._known(records, low + step) <= goal:
            low, step = low + step + 1, 2 * step
        high = min(high, low + step)
        while low < high:
            middle = (low + high) // 2
            if self._known(records, middle) <= goal:
                low = middle + 1
            else:
                high = middle
        return low

    def _known(self, records: Sequence[Record], index: int) -> int:
        """Return a record's commit sequence; a tombstone, or what cannot be read, goes with the record before it."""
        while index >= 0:
            if records[index].value() is not None:
                try:
                    return self._sequence_of(records[index])
                except TailraceError as error:
                    if error.kind is not ErrorKind.DECODE:
                        raise
            index -= 1
        return 0


def _size(records: Sequence[Record]) -> int:
    return sum(map(size_of, records))
