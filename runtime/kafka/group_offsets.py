"""A group's committed offsets, read from outside the group.

By a consumer that never joins, not by the admin request ListConsumerGroupOffsets: when a coordinator answers that
with an error, as it does for a moment in every new cluster, librdkafka 2.16 hands the error to the consumer group
that an admin client does not have, and the process dies (`rd_kafka_handle_OffsetFetch`, `rd_kafka_cgrp_op`).
"""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaException, TopicPartition

from runtime.kafka.client import Complaints, Properties, consumer_properties, library_logger
from runtime.kafka.consumer import FIXED
from runtime.kafka.errors import of_exception
from runtime.kafka.membership import Partition

REQUEST_TIMEOUT_S = 30.0


class GroupOffsets:
    """Reads what one group has committed. Keeps its connection, for who asks again and again."""

    def __init__(self, kafka: Properties, group: str) -> None:
        self._group = group
        self._complaints = Complaints(group)
        properties = {**consumer_properties(kafka, {}, FIXED), "group.id": group, "error_cb": self._complaints}
        try:
            self._consumer = Consumer(properties, logger=library_logger(properties))
        except (KafkaException, ValueError, TypeError) as error:
            raise of_exception(error, "making a Kafka consumer") from error

    def read(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the next offset of each partition that the group has committed one for.

        Raises TRANSPORT when the group's coordinator does not answer.
        """
        return {partition: offset for partition, (offset, _) in self.read_noted(partitions).items()}

    def read_noted(self, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, str]]:
        """Return with each offset the text that was committed beside it; see `read`."""
        wanted = [TopicPartition(topic, number) for topic, number in partitions]
        if not wanted:
            return {}
        try:
            found = self._consumer.committed(wanted, timeout=REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise of_exception(error, f"reading the offsets of {self._group}", self._complaints.last) from error
        return {
            (p.topic, p.partition): (p.offset, p.metadata or "") for p in found if p.error is None and p.offset >= 0
        }

    def close(self) -> None:
        """Let go of the client. May be called twice."""
        try:
            self._consumer.close()
        except RuntimeError:
            # Closed already.
            return
