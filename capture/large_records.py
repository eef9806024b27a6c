"""Records that Kafka does not take for their size, published in parts: see `schemas.parts`.

The parts come before the record, in the same Kafka transaction. Their offsets are known beforehand: capture alone
writes the parts topic, and waits until it has all that was sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from runtime.kafka.admin import TopicSpec
from runtime.kafka.producer import Headers
from schemas.codecs import Encoder, Pair, compile_decoder
from schemas.parts import HEADER, PART_BYTES_MAX, parts, reduced, reference
from schemas.settings import Settings
from schemas.topic_settings import Cleanup
from schemas.topics import parts_topic


class Producer(Protocol):
    """What is needed of `runtime.kafka.producer.TransactionalProducer`."""

    def produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers | None = None,
    ) -> None: ...
    def flush(self) -> None: ...


class TopicAdmin(Protocol):
    """What is needed of `runtime.kafka.admin.Topics`."""

    def ensure(self, specs: Sequence[TopicSpec]) -> list[str]: ...
    def end_offsets(self, topics: Iterable[str], *, read_committed: bool) -> Mapping[tuple[str, int], int]: ...


class LargeRecords:
    """Publishes records that are too large for their topic."""

    def __init__(self, topic: str, part_bytes: int, producer: Producer, end: Callable[[], int]) -> None:
        """`end` makes the topic if it is not there, and tells its end."""
        self._topic = topic
        self._part_bytes = part_bytes
        self._producer = producer
        self._end = end

    def produce(self, topic: str, encoder: Encoder, pair: Pair, partition: int | None) -> None:
        """Publish a record. Raises CONFIGURATION where its key alone, or its small values, are too large."""
        key, value = pair
        assert value is not None
        small = reduced(encoder, compile_decoder(encoder.table, encoder.format), value)
        self._producer.flush()
        where = reference(value, self._end(), self._part_bytes)
        for part in parts(value, self._part_bytes):
            self._producer.produce(self._topic, key, part, 0)
        self._producer.produce(topic, key, small, partition, [(HEADER, where.to_header())])


def open_large_records(settings: Settings, producer: Producer, topics: TopicAdmin) -> LargeRecords:
    """Return what publishes the large records of a replication. The topic is made with the first one."""
    topic = parts_topic(settings.name)

    def end() -> int:
        topics.ensure([topic_spec(settings)])
        return topics.end_offsets([topic], read_committed=False)[topic, 0]

    # With the key and what surrounds it a part is below what the client takes.
    part_bytes = min(PART_BYTES_MAX, int(settings.kafka.get("message.max.bytes", 1_000_000)) // 10 * 9)
    return LargeRecords(topic, part_bytes, producer, end)


def topic_spec(settings: Settings) -> TopicSpec:
    """Return what the parts topic must be: it keeps parts for as long as any topic keeps what refers to them."""
    topics = settings.topics
    is_kept = topics.cleanup is Cleanup.COMPACT or bool(topics.overrides)
    config = {**topics.config, **({"retention.ms": -1, "retention.bytes": -1} if is_kept else {})}
    return TopicSpec(parts_topic(settings.name), 1, "delete", config, replication_factor=topics.replication_factor)
