"""What the topics hold, read as any Kafka consumer would read them: confluent-kafka and fastavro, nothing of
Tailrace's.

Under `read_committed`, no commit sequence may appear twice, each partition's must increase, and the last record of
each key must be there exactly if the source has the row.
"""

from __future__ import annotations

import io
import json
import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

_HEADER = struct.Struct(">BI")
REGISTRY_TOPIC = "_schemas"
BATCH = 5_000


@dataclass(slots=True)
class TopicFacts:
    """What one topic holds."""

    topic: str
    records: int = 0
    operations: dict[str, int] = field(default_factory=dict)
    live_keys: int = 0
    """Keys whose last record is no delete."""
    keyed: bool = True


@dataclass(slots=True)
class Findings:
    """What all topics hold together, and what is wrong with it."""

    topics: list[TopicFacts] = field(default_factory=list)
    records: int = 0
    duplicates: int = 0
    """Commit sequences that stand on more than one record."""
    backward: int = 0
    """Records whose commit sequence is not above that of the record before in their partition."""

    @property
    def sound(self) -> bool:
        """Whether nothing stands twice and nothing out of order."""
        return not (self.duplicates or self.backward)


def read_topics(bootstrap: str, topics: list[str], on_records: Callable[[int], None]) -> Findings:
    """Read the topics from begin to end; `on_records` is told how many records were read."""
    schemas = _schemas(bootstrap)
    findings = Findings()
    sequences = array("q")
    for topic in topics:
        findings.topics.append(_read_topic(bootstrap, topic, schemas, sequences, findings, on_records))
    ordered = sorted(sequences)
    findings.duplicates = sum(a == b for a, b in pairwise(ordered))
    findings.records = len(sequences)
    return findings


def _read_topic(
    bootstrap: str,
    topic: str,
    schemas: dict[int, Any],
    sequences: array[int],
    findings: Findings,
    on_records: Callable[[int], None],
) -> TopicFacts:
    facts = TopicFacts(topic)
    last: dict[int, int] = {}
    live: dict[bytes, bool] = {}
    for batch in _batches(bootstrap, topic):
        for partition, key, value in batch:
            if value is None:
                continue
            schema = schemas[_HEADER.unpack_from(value)[1]]
            envelope: Any = fastavro.schemaless_reader(io.BytesIO(value[_HEADER.size :]), schema, None)
            operation, sequence = envelope["op"], envelope["source"]["seq"]
            sequences.append(sequence)
            findings.backward += sequence <= last.get(partition, 0)
            last[partition] = sequence
            facts.operations[operation] = facts.operations.get(operation, 0) + 1
            if key is None:
                facts.keyed = False
            else:
                live[key] = operation != "d"
        facts.records += len(batch)
        on_records(len(batch))
    facts.live_keys = sum(live.values())
    return facts


def _schemas(bootstrap: str) -> dict[int, Any]:
    """Read the Avro schemas from the topic where a schema registry would keep them."""
    schemas: dict[int, Any] = {}
    for batch in _batches(bootstrap, REGISTRY_TOPIC):
        for _, _, value in batch:
            document = json.loads(value) if value else {}
            if "schema" in document:
                schemas[document["id"]] = fastavro.parse_schema(json.loads(document["schema"]))
    return schemas


def _batches(bootstrap: str, topic: str) -> Any:
    """Yield lists of (partition, key, value) until every partition's end."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "tailrace-demo-checks",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": 16_384,
        }
    )
    try:
        partitions = set(consumer.list_topics(topic, timeout=60).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        while partitions:
            batch = []
            for message in consumer.consume(BATCH, 1.0):
                error = message.error()
                if error is None:
                    batch.append((message.partition(), message.key(), message.value()))
                elif error.code() == KafkaError._PARTITION_EOF:
                    partitions.discard(message.partition() or 0)
                else:
                    raise KafkaException(error)
            if batch:
                yield batch
    finally:
        consumer.close()
