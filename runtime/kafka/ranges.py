"""Reading what stands between two offsets, of many partitions at once. No group, nothing committed."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from runtime import clock
from runtime.kafka.client import Complaints, Properties, consumer_properties, library_logger
from runtime.kafka.compacted import OVERRIDES, REQUEST_TIMEOUT_S, Record, record_of
from runtime.kafka.consumer import DEFAULTS, FIXED, PASSING
from runtime.kafka.errors import classify, of_exception
from runtime.kafka.membership import Partition
from schemas.errors import ErrorKind, TailraceError

Range = tuple[int, int]
"""The first offset, and the one behind the last."""


def read_ranges(
    kafka: Properties,
    ranges: Mapping[Partition, Range],
    *,
    committed: bool = True,
    timeout_s: float = REQUEST_TIMEOUT_S,
) -> dict[Partition, list[Record]]:
    """Return the records of each range, in order; without `committed`, those of open and aborted transactions too.

    The caller bounds the ranges: everything is held in memory. Raises TRANSPORT if it takes longer than `timeout_s`.
    """
    complaints = Complaints("ranges")
    isolation = "read_committed" if committed else "read_uncommitted"
    properties = {**consumer_properties(kafka, DEFAULTS, FIXED), **OVERRIDES, "error_cb": complaints}
    properties["isolation.level"] = isolation
    found: dict[Partition, list[Record]] = {partition: [] for partition in ranges}
    left = {partition for partition, (begin, end) in ranges.items() if begin < end}
    deadline = clock.monotonic() + timeout_s
    try:
        consumer = Consumer(properties, logger=library_logger(properties))
    except (KafkaException, ValueError, TypeError) as error:
        raise of_exception(error, "making a Kafka consumer") from error
    try:
        consumer.assign([TopicPartition(*partition, ranges[partition][0]) for partition in sorted(left)])
        while left:
            for message in consumer.consume(10_000, 0.5):
                partition = message.topic() or "", message.partition() or 0
                offset, end, problem = message.offset() or 0, ranges[partition][1], message.error()
                if problem is None:
                    if offset < end:
                        found[partition].append(record_of(message))
                    offset += 1
                elif problem.code() in PASSING:
                    complaints(problem)
                    continue
                elif problem.code() != KafkaError._PARTITION_EOF:
                    raise classify(problem, f"reading {partition[0]}", complaints.last)
                # The last offsets may be markers, which are no messages: then the end of the partition is told.
                if offset >= end:
                    left.discard(partition)
            if left and clock.monotonic() > deadline:
                topics = ", ".join(sorted({topic for topic, _ in left})[:3])
                raise TailraceError(ErrorKind.TRANSPORT, f"reading {topics} took longer than {timeout_s:g} s")
    except KafkaException as failure:
        raise of_exception(failure, "reading ranges of topics", complaints.last) from failure
    finally:
        consumer.close()
    return found
