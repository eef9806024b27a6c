"""Records that Kafka does not take for their size, published in parts: see `schemas.parts`.

The parts come before the record, in the same Kafka transaction. Their offsets are what the topic ends with once Kafka
has them all: capture alone writes it. Not beforehand: the end of the transaction before takes an offset too, and comes
when it will.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from runtime.kafka.admin import TopicSpec
from runtime.kafka.producer import Headers
from schemas.changes import RowChanges
from schemas.codecs import Encoder, Pair, compile_decoder
from schemas.errors import ErrorKind, TailraceError
from schemas.large_values import LargeValue, WholeRecord, least_bytes
from schemas.parts import HEADER, PART_BYTES_MAX, Slicing, reduced
from schemas.settings import Settings
from schemas.topic_settings import Cleanup
from schemas.topics import parts_topic


class RecordProducer(Protocol):
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


class TopicEnds(Protocol):
    """What is needed of `runtime.kafka.admin.Topics`."""

    def ensure(self, specs: Sequence[TopicSpec]) -> list[str]: ...
    def end_offsets(self, topics: Iterable[str], *, read_committed: bool) -> Mapping[tuple[str, int], int]: ...


class LargeRecords:
    """Publishes records that are too large for their topic."""

    def __init__(
        self,
        topic: str,
        part_bytes: int,
        least_bytes: int,
        producer: RecordProducer,
        make: Callable[[], object],
        end: Callable[[], int],
    ) -> None:
        """`make` makes the topic if it is not there, `end` tells its end. From `least_bytes` on a value is kept beside
        its row.
        """
        self._topic = topic
        self._part_bytes = part_bytes
        self._least_bytes = least_bytes
        self._producer = producer
        self._make = make
        self._end = end
        self._is_made = False

    def concerns(self, changes: RowChanges) -> bool:
        """Tell whether some change of a run may hold such a value."""
        if changes.filed is not None:
            return len(changes.filed) >= self._least_bytes
        return self.holds(changes.messages)

    def holds(self, messages: Sequence[bytes]) -> bool:
        """Tell whether some of the log's messages may hold such a value."""
        return bool(messages) and max(map(len, messages)) >= self._least_bytes

    def apart(self, changes: RowChanges) -> Iterator[tuple[RowChanges, list[LargeValue]]]:
        """Yield an unread run in pieces: each change with large values alone, and these, for which it has stand-ins."""
        assert changes.form is not None, "it is unread"
        rest: list[bytes] = []
        messages = changes.messages if changes.filed is None else [changes.filed]
        for message in messages:
            if len(message) >= self._least_bytes:
                small, values = changes.form.take_out(message, self._least_bytes)
                if values:
                    if rest:
                        yield changes.unread(rest), []
                    yield changes.unread([small]), values
                    rest = []
                else:
                    rest.append(small)
            else:
                rest.append(bytes(message))
        if rest:
            yield changes.unread(rest), []

    def produce(
        self, topic: str, encoder: Encoder, pair: Pair, partition: int | None, values: Sequence[LargeValue] = ()
    ) -> None:
        """Publish a record, in which `values` have stand-ins. Raises CONFIGURATION where its key alone is too large."""
        key, value = pair
        assert value is not None
        whole = WholeRecord(value, encoder.format, values)
        decoder = compile_decoder(encoder.table, encoder.format)
        small = reduced(encoder, decoder, value, self._part_bytes, whole.stand_ins)
        if not self._is_made:
            self._make()
            self._is_made = True
        slicing = Slicing(whole, self._part_bytes)
        for part in slicing.parts():
            self._producer.produce(self._topic, key, part, 0)
        self._producer.flush()
        # One behind the other: brokers take no record of a transaction before the end of the one before stands in all
        # of its partitions.
        where = slicing.behind(self._end())
        self._producer.produce(topic, key, small, partition, [(HEADER, where.to_header())])


def open_large_records(settings: Settings, producer: RecordProducer, topics: TopicEnds) -> LargeRecords:
    """Return what publishes the large records of a replication. The topic is made with the first one."""
    topic = parts_topic(settings.name)

    def make() -> None:
        topics.ensure([topic_spec(settings)])

    def end() -> int:
        ends = topics.end_offsets([topic], read_committed=False)
        if (topic, 0) not in ends:
            # A broker that has not heard of the new topic yet.
            raise TailraceError(ErrorKind.TRANSPORT, f"no answer about the end of {topic}")
        return ends[topic, 0]

    # With the key and what surrounds it a part is below what the client takes.
    part_bytes = min(PART_BYTES_MAX, least_bytes(settings) // 10 * 9)
    return LargeRecords(topic, part_bytes, least_bytes(settings), producer, make, end)


def topic_spec(settings: Settings) -> TopicSpec:
    """Return what the parts topic must be: it keeps parts for as long as any topic keeps what refers to them."""
    topics = settings.topics
    is_kept = topics.cleanup is Cleanup.COMPACT or bool(topics.overrides)
    # By time alone: one partition has what all partitions of all tables refer to.
    config = {**topics.config, "retention.bytes": -1, **({"retention.ms": -1} if is_kept else {})}
    return TopicSpec(parts_topic(settings.name), 1, "delete", config, replication_factor=topics.replication_factor)
