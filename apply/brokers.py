"""What Kafka says beside the records: where topics end, how many partitions they have, what other appliers noted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing

from apply.cursors import progress_of
from apply.error_handling.survey import Progress
from apply.sink import TopicPartition
from runtime.kafka.admin import Topics
from runtime.kafka.client import Properties
from runtime.kafka.group_offsets import GroupOffsets


class Brokers:
    """Asks the brokers for one group."""

    def __init__(self, kafka: Properties, group: str, stack: ExitStack) -> None:
        self.topics = Topics(kafka)
        self.group_offsets = stack.enter_context(closing(GroupOffsets(kafka, group)))
        self._counts: dict[str, int] = {}

    def ends(self, topics: Iterable[str]) -> dict[tuple[str, int], int]:
        """Return the ends of topics, records of open Kafka transactions included.

        Not the last stable offsets: a commit returns before its markers are written, and what is committed counts.
        """
        return self.topics.end_offsets(topics, read_committed=False)

    def partition_count(self, topic: str) -> int:
        """Return how many partitions a topic has; asked once of each."""
        if topic not in self._counts:
            self._counts[topic] = self.topics.partitions(topic)
        return self._counts[topic]

    def progress(self, partitions: Sequence[TopicPartition]) -> dict[tuple[str, int], Progress]:
        """Return what the owners of partitions have noted beside their offsets."""
        return {p: progress_of(*noted) for p, noted in self.group_offsets.read_noted(partitions).items()}
