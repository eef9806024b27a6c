"""Reading small topics whole and following them: checkpoints, schemas, status. No group, committed records only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from types import MappingProxyType
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from runtime import clock
from runtime.kafka.client import Complaints, Properties, consumer_properties, library_logger
from runtime.kafka.consumer import DEFAULTS, FIXED, PASSING
from runtime.kafka.errors import classify, of_exception
from schemas.errors import ErrorKind, TailraceError

REQUEST_TIMEOUT_S = 30.0

_GROUP = "tailrace.reader"
"""librdkafka wants a group's name; nothing ever joins or commits under it."""

OVERRIDES: dict[str, Any] = {
    "group.id": _GROUP,
    # Reading always begins at an explicit offset; compaction and retention may move the beginning meanwhile.
    "auto.offset.reset": "earliest",
    "queued.max.messages.kbytes": 4 << 10,
    "fetch.max.bytes": 4 << 20,
    "max.partition.fetch.bytes": 1 << 20,
    "fetch.wait.max.ms": 50,
}


class Record(NamedTuple):
    """A record of a followed topic; `value` None is a tombstone."""

    key: bytes | None
    value: bytes | None
    offset: int
    partition: int
    timestamp_ms: int
    headers: Mapping[str, str] = MappingProxyType({})
    """Headers as text; where a name is repeated, the last one."""


class Follower:
    """Reads a topic from its beginning and goes on with what comes. Used by one thread."""

    def __init__(self, kafka: Properties, topic: str, *, committed: bool = True) -> None:
        """Raises TRANSPORT while there is no such topic."""
        self._topic = topic
        self._complaints = Complaints(topic)
        properties = {**consumer_properties(kafka, DEFAULTS, FIXED), **OVERRIDES, "error_cb": self._complaints}
        if not committed:
            properties["isolation.level"] = "read_uncommitted"
        try:
            self._consumer = Consumer(properties, logger=library_logger(properties))
        except (KafkaException, ValueError, TypeError) as error:
            raise of_exception(error, "making a Kafka consumer") from error
        try:
            self._partitions = self._count()
            self._eof: dict[int, int] = {}
            self._consumer.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for n in range(self._partitions)])
        except BaseException:
            self._consumer.close()
            raise

    def poll(self, timeout_s: float = 0.0, records_max: int = 10_000) -> list[Record]:
        """Return the next records, at most `records_max`; empty when none has come within `timeout_s`."""
        records: list[Record] = []
        try:
            messages = self._consumer.consume(1, timeout_s)
            if messages:
                messages += self._consumer.consume(records_max - 1, 0) if records_max > 1 else []
        except KafkaException as failure:
            raise of_exception(failure, f"reading {self._topic}", self._complaints.last) from failure
        for message in messages:
            error = message.error()
            if error is None:
                records.append(record_of(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                self._eof[message.partition() or 0] = message.offset() or 0
            elif error.code() in PASSING:
                self._complaints(error)
            else:
                raise classify(error, f"reading {self._topic}", self._complaints.last)
        return records

    def catch_up(self, timeout_s: float = REQUEST_TIMEOUT_S, *, ends: Mapping[int, int] | None = None) -> list[Record]:
        """Return all records up to the end as it is now, or up to `ends`, which may stand behind transactions that are
        open: they are waited for. Raises TRANSPORT if that takes longer than `timeout_s`.
        """
        return [record for records in self.portions(timeout_s, ends=ends) for record in records]

    def portions(self, timeout_s: float, *, ends: Mapping[int, int] | None = None) -> Iterator[list[Record]]:
        """Yield what `catch_up` returns, portion by portion; raises as it does."""
        deadline = clock.monotonic() + timeout_s
        if ends is None:
            ends = self._ends(deadline)
        # A partition's end is met when its end-of-partition event says so, or its last record was returned.
        while not all(self._eof.get(n, -1) >= end or self._next(n) >= end for n, end in ends.items()):
            left_s = deadline - clock.monotonic()
            if left_s <= 0:
                cause = self._complaints.last
                why = f"; last complaint of a connection: {cause.str()}" if cause else ""
                raise TailraceError(
                    ErrorKind.TRANSPORT, f"reading {self._topic} to its end took longer than {timeout_s:g} s{why}"
                )
            yield self.poll(min(left_s, 0.5))

    def ends(self, timeout_s: float = REQUEST_TIMEOUT_S) -> dict[int, int]:
        """Return where each partition ends for this reader."""
        return self._ends(clock.monotonic() + timeout_s)

    def close(self) -> None:
        """Let go of the client. May be called twice."""
        try:
            self._consumer.close()
        except RuntimeError:
            # Closed already.
            return

    def _count(self) -> int:
        try:
            metadata = self._consumer.list_topics(self._topic, timeout=REQUEST_TIMEOUT_S).topics[self._topic]
        except KafkaException as error:
            self._consumer.poll(0)
            raise of_exception(error, f"looking up {self._topic}", self._complaints.last) from error
        if metadata.error is not None and metadata.error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise classify(metadata.error, f"looking up {self._topic}")
        if metadata.error is not None or not metadata.partitions:
            raise TailraceError(
                ErrorKind.TRANSPORT, f"there is no topic {self._topic}", remedy="start capture, which makes it"
            )
        return len(metadata.partitions)

    def _ends(self, deadline: float) -> dict[int, int]:
        """Return the ends of all partitions: the last stable offsets, since the client reads what is committed."""
        return {n: self._end(n, deadline) for n in range(self._partitions)}

    def _end(self, partition: int, deadline: float) -> int:
        doing = f"reading the end of {self._topic}"
        topic_partition = TopicPartition(self._topic, partition)
        while True:
            left_s = deadline - clock.monotonic()
            try:
                # None after a time-out, which the library's types do not say.
                bounds: tuple[int, int] | None = self._consumer.get_watermark_offsets(
                    topic_partition, timeout=max(0.1, left_s)
                )
            except KafkaException as error:
                # A new topic's partition has no leader for a moment, or one that does not know of it yet.
                if error.args[0].code() not in PASSING or left_s <= 0:
                    raise of_exception(error, doing, self._complaints.last) from error
            else:
                if bounds is not None:
                    return bounds[1]
                if left_s <= 0:
                    raise TailraceError(ErrorKind.TRANSPORT, f"{doing} took too long: no broker answers")
            clock.sleep(0.05)

    def _next(self, partition: int) -> int:
        position: int = self._consumer.position([TopicPartition(self._topic, partition)])[0].offset
        return position


def read_all(kafka: Properties, topic: str, timeout_s: float = 60.0, *, committed: bool = True) -> dict[bytes, bytes]:
    """Return the latest value of each key, up to the topic's end as it is now, without the deleted ones.

    Without `committed`, records of open and aborted transactions count too. Raises TRANSPORT for a topic that is not
    there, or if it takes longer than `timeout_s`.
    """
    with closing(Follower(kafka, topic, committed=committed)) as follower:
        latest: dict[bytes, bytes] = {}
        for record in follower.catch_up(timeout_s):
            if record.key is None:
                continue
            if record.value is None:
                latest.pop(record.key, None)
            else:
                latest[record.key] = record.value
        return latest


def record_of(message: Message) -> Record:
    """Return a message as a record."""
    # A record's key and value are bytes, since no deserialiser is set.
    key: Any = message.key()
    value: Any = message.value()
    found: Any = message.headers()
    headers = {name: (text or b"").decode(errors="replace") for name, text in found or ()}
    return Record(key, value, message.offset() or 0, message.partition() or 0, message.timestamp()[1], headers)
