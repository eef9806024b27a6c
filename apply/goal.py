"""`--stop-at now`: how far every partition was when the applier began, and whether the group has got there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from apply.sink import TopicPartition
from schemas.errors import TailraceError

Partition = tuple[str, int]


class Goal:
    """The ends of all partitions at the start, less those that are passed."""

    def __init__(self, ends: Mapping[Partition, int], begins: Mapping[Partition, int]) -> None:
        # A partition whose beginning is its end holds nothing.
        self.left = {TopicPartition(*p): end for p, end in ends.items() if end > begins.get(p, 0)}

    def pass_own(self, reached: Mapping[TopicPartition, int]) -> None:
        """Strike out what this applier has made durable."""
        for partition, offset in reached.items():
            if partition in self.left and offset >= self.left[partition]:
                del self.left[partition]

    def pass_others(self, committed: Mapping[Partition, int], owned: Mapping[TopicPartition, int]) -> None:
        """Strike out what other members of the group have committed."""
        for partition in list(self.left):
            if partition not in owned and committed.get(partition, -1) >= self.left[partition]:
                del self.left[partition]

    def kept(self, suspension: Callable[[TopicPartition], TailraceError | None]) -> list[TailraceError]:
        """Return why those partitions that are left, and suspended, do not get there."""
        return [error for partition in self.left if (error := suspension(partition)) is not None]
