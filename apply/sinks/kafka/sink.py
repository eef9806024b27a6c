"""The Kafka sink: every change becomes a record, in transactions that hold the positions of the source too.

A transaction is one flush. Until then records wait here or, beyond a bound, in the open transaction, which no reader of
committed records sees. What has failed leaves its producer behind: a new one under the same transactional id settles
what the old one left open.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from apply.sink import Origin, Rejection, TableBatch, TopicPartition
from apply.sink_kinds.history import HISTORY, HistorySink
from apply.sinks.kafka.claims import Claims
from apply.sinks.kafka.names import positions_topic, topic_of, transactional_prefix
from apply.sinks.kafka.records import DmsWriter, Writer, envelope_writer
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.client import Properties
from runtime.kafka.producer import TransactionalProducer
from runtime.logging import get_logger
from runtime.registry import Registry
from schemas.before_image import BeforeImageSettings
from schemas.codecs import Pair
from schemas.dms_json import table_operations
from schemas.endpoints.kafka import KafkaTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.object_rule import ObjectMappingRule
from schemas.mappings.objects import object_table
from schemas.per_table import PerTable
from schemas.table import TableSchema

log = get_logger(__name__)

WAITING_BYTES_MAX = 16 << 20
"""So much waits here; then it goes into the open transaction."""

# Small segments: the active one is never compacted, and every claim after a start reads it whole.
POSITIONS_CONFIG = {"segment.bytes": 16 << 20, "min.cleanable.dirty.ratio": 0.1}

TRUNCATE_KEY = b"tailrace.truncate"
"""What truncates have for a key in compacted topics, as capture writes them."""

OVERHEAD_BYTES = 16_384
"""What librdkafka's `message.max.bytes` counts besides a record: the headers of a request."""


class KafkaSink(HistorySink):
    """One cluster's topics, as one appliers' process sees them."""

    capabilities = replace(HISTORY, stores_offsets=True)

    def __init__(
        self,
        replication: str,
        target_name: str,
        target: KafkaTarget,
        kafka: Properties,
        *,
        database: str,
        registry: Registry | None = None,
        image: BeforeImageSettings | None = None,
        rules: Sequence[ObjectMappingRule] = (),
    ) -> None:
        """`kafka` are the client's properties, with what a login needs."""
        self._replication = replication
        self._target = target
        self._database = database
        self._registry = registry
        self._image = image
        self._rules = rules
        largest = target.message_max_bytes + OVERHEAD_BYTES
        self._kafka = {"message.max.bytes": largest, **kafka}
        self._name = f"{transactional_prefix(replication, target_name)}{secrets.token_hex(8)}"
        self._positions = positions_topic(target, replication, target_name)
        self._topics = Topics(self._kafka)
        self._producer: TransactionalProducer | None = None
        self._claims: Claims | None = None
        self._writers = PerTable(self._writer)
        self._known: dict[str, tuple[int, bool]] = {}
        """Of each topic: how many partitions it has, and whether it is compacted."""
        self._runs: list[tuple[str, int | None, list[Pair]]] = []
        self._waiting_bytes = 0
        self._offsets: dict[TopicPartition, int] = {}
        self._said: dict[Any, dict[str, Any]] = {}
        """What control records say of tables, in the transaction that is open or begins next."""

    def load_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """See `Sink`."""
        producer, claims = self._ready()
        if producer.in_transaction:
            raise TailraceError(ErrorKind.TRANSPORT, "partitions cannot be claimed within a transaction")
        return claims.claim(partitions, producer)

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Sink`. Failing that, whoever claims them next ends this process's transactional id."""
        if self._producer is None or self._claims is None or self._producer.in_transaction:
            return
        try:
            self._claims.release(partitions, self._producer)
        except TailraceError as error:
            log.info("partitions not released at the target", reason=error.message)
            self._drop_producer()

    def prepare(self, table: TableSchema) -> None:
        """Make the table's topic, if it is not there. Raises TARGET_SCHEMA if it cannot hold the table."""
        topic = self._topic(table)
        _, is_compacted = self._look_up(topic)
        objects = object_table(self._rules, table)
        has_own_key = objects is not None and objects.partition_key is not None
        if is_compacted and (has_own_key or not table.key):
            why = (
                "by any other key than the rows', which a rule of object mapping gives"
                if has_own_key
                else "without a key"
            )
            raise TailraceError(
                ErrorKind.TARGET_SCHEMA,
                f"{topic} is compacted, and takes no records {why}",
                table=str(table.name),
                remedy="leave the table out, or let the topic be another one",
            )
        # Before rows come: a registry may not take the schema of a changed table.
        self._writers(table)

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Take in changes; return those that are too large for a record."""
        rejections: list[Rejection] = []
        topic, writer = self._writers(batch.table)
        if batch.sequence:
            self._announce(batch.table, topic, writer, batch.origins["sequence"][0])
        bytes_max = self._target.message_max_bytes
        keyed: list[Pair] = []
        for index, (change, origin) in enumerate(zip(batch.sequence, batch.origins["sequence"], strict=True)):
            pairs = writer.records(change, origin)
            size = max([len(key or b"") + len(value or b"") for key, value in pairs], default=0)
            if size > bytes_max:
                rejections.append(_too_large(batch.table, index, size, bytes_max))
                continue
            for pair in pairs:
                if pair[0] is not None:
                    keyed.append(pair)
                    continue
                # What has no key keeps its order among what has one.
                self._add(topic, None, keyed)
                keyed = []
                partition, key = self._placed(topic, origin)
                self._add(topic, partition, [(key, pair[1])])
        self._add(topic, None, keyed)
        if self._waiting_bytes > WAITING_BYTES_MAX:
            self._produce()
        return rejections

    def stage_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See `Sink`."""
        self._offsets.update(offsets)

    def flush(self) -> None:
        """Commit records and positions together."""
        if not (self._runs or self._offsets or self._said or (self._producer and self._producer.in_transaction)):
            return
        self._produce()
        producer, claims = self._ready()
        try:
            claims.stage(self._offsets, producer)
            for name, said in self._said.items():
                claims.stage_table(name, said, producer)
            producer.commit()
        except TailraceError:
            self._drop_producer()
            raise
        claims.tables.update(self._said)
        self._said.clear()
        self._offsets.clear()

    def rollback(self) -> None:
        """Forget what was taken in; abort what is in the open transaction."""
        self._runs.clear()
        self._waiting_bytes = 0
        self._offsets.clear()
        self._said.clear()
        if self._producer is not None and self._producer.in_transaction:
            try:
                self._producer.abort()
            except TailraceError as error:
                log.info("transaction left to be aborted", reason=error.message)
                self._drop_producer()

    def forget(self) -> list[str]:
        """Delete the topic of positions."""
        self.close()
        if not self._topics.exists(self._positions):
            return []
        self._topics.delete([self._positions])
        return [f"deleted the topic {self._positions} of the target's cluster"]

    def close(self) -> None:
        """Let go of the clients. May be called twice."""
        self._runs.clear()
        self._drop_producer()
        if self._claims is not None:
            self._claims.close()
            self._claims = None
        if self._registry is not None:
            self._registry.close()

    def _ready(self) -> tuple[TransactionalProducer, Claims]:
        """Return the producer, made and initialised, and the claims as they are since."""
        if self._producer is None:
            if self._claims is None:
                copies = self._target.topic_replication_factor
                self._topics.ensure([TopicSpec(self._positions, 1, "compact", POSITIONS_CONFIG, copies)])
                self._claims = Claims(self._kafka, self._positions, self._name, self._end)
            producer = TransactionalProducer(self._kafka, self._name)
            try:
                producer.init()
                self._claims.resume()
            except BaseException:
                producer.close()
                raise
            self._producer = producer
        assert self._claims is not None
        return self._producer, self._claims

    def _end(self, name: str) -> None:
        """Fence another process, and settle what it left open."""
        with closing(TransactionalProducer(self._kafka, name)) as producer:
            producer.init()

    def _drop_producer(self) -> None:
        if self._producer is not None:
            self._producer.close()
            self._producer = None

    def _produce(self) -> None:
        """Hand what waits to the producer, within its open transaction."""
        producer, _ = self._ready()
        try:
            if not producer.in_transaction:
                producer.begin()
            for topic, partition, pairs in self._runs:
                producer.produce_run(topic, pairs, partition)
        except TailraceError:
            self._drop_producer()
            raise
        self._runs.clear()
        self._waiting_bytes = 0

    def _add(self, topic: str, partition: int | None, pairs: list[Pair]) -> None:
        """Let records wait; where no partition is said, their keys decide."""
        if not pairs:
            return
        if self._runs and self._runs[-1][:2] == (topic, partition):
            self._runs[-1][2].extend(pairs)
        else:
            self._runs.append((topic, partition, pairs))
        self._waiting_bytes += sum([len(key or b"") + len(value or b"") for key, value in pairs])

    def _placed(self, topic: str, origin: Origin) -> tuple[int, bytes | None]:
        """Return the partition of a record without a key, and the one that it gets: compacted topics want one."""
        # It stays in order: truncates, and rows of tables without a key.
        count, is_compacted = self._look_up(topic)
        return origin.partition.partition % count, TRUNCATE_KEY if is_compacted else None

    def _announce(self, table: TableSchema, topic: str, writer: Writer, origin: Origin) -> None:
        """Let a control record precede the first row of a table, and of each of its versions."""
        of_new, of_altered = self._target.include_control_details, self._target.include_table_alter_operations
        if not isinstance(writer, DmsWriter) or not (of_new or of_altered):
            return
        _, claims = self._ready()
        known = self._said.get(table.name) or claims.tables.get(table.name)
        if known is not None and known["version"] >= table.version:
            return
        self._said[table.name], operations = table_operations(table, known)
        for operation in operations:
            if of_new if operation == "create-table" else of_altered:
                self._add(topic, None, [writer.control(operation, origin)])

    def _writer(self, table: TableSchema) -> tuple[str, Writer]:
        target, topic = self._target, self._topic(table)
        self._look_up(topic)
        if target.is_dms:
            return topic, DmsWriter(table, target, self._image, object_table(self._rules, table))
        return topic, envelope_writer(table, topic, target, self._replication, self._database, self._registry)

    def _topic(self, table: TableSchema) -> str:
        return topic_of(self._target, self._replication, table, self._rules)

    def _look_up(self, topic: str) -> tuple[int, bool]:
        """Return what is known of a topic, which is made if it is not there."""
        if topic not in self._known:
            if not self._topics.exists(topic):
                self._topics.ensure([self._spec(topic)])
            is_compacted = "compact" in self._topics.config(topic).get("cleanup.policy", "")
            self._known[topic] = self._topics.partitions(topic), is_compacted
        return self._known[topic]

    def _spec(self, topic: str) -> TopicSpec:
        target = self._target
        config = {"max.message.bytes": target.message_max_bytes + OVERHEAD_BYTES, **target.topic_config}
        cleanup = str(config.pop("cleanup.policy", "delete"))
        return TopicSpec(topic, target.topic_partitions, cleanup, config, target.topic_replication_factor)


def _too_large(table: TableSchema, index: int, size: int, size_max: int) -> Rejection:
    error = TailraceError(
        ErrorKind.ROW_REJECTED,
        f"a record of {size} bytes is too large: `message_max_bytes` is {size_max}",
        table=str(table.name),
        remedy="raise it, and max.message.bytes of the topic; then `tailrace parked retry`",
    )
    return Rejection(table.name, "sequence", index, error)
