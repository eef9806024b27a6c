"""Read the topics of a replication as any Kafka client would, and check what capture promises of them.

Decoding is by `fastavro` with the schemas that the registry topic holds, or by plain JSON: no code of the product's.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import fastavro
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient

REGISTRY_TOPIC = "_schemas"
READ_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Record:
    """One record, decoded."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    envelope: dict[str, Any] | None
    """None for a tombstone."""

    @property
    def sequence(self) -> int | None:
        """The commit sequence, None for a tombstone."""
        return None if self.envelope is None else int(self.envelope["source"]["seq"])


def data_topics(bootstrap: str, replication: str) -> list[str]:
    """Return the replication's topics of tables."""
    topics = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=60).topics
    return sorted(t for t in topics if t.startswith(f"{replication}.") and not t.startswith(f"{replication}.tailrace."))


def delete_topics(bootstrap: str, replication: str) -> None:
    """Delete all topics of the replication."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    names = [name for name in admin.list_topics(timeout=60).topics if name.startswith(f"{replication}.")]
    for future in (admin.delete_topics(names, operation_timeout=60) if names else {}).values():
        future.exception(timeout=60)


def delete_records(bootstrap: str, topic: str) -> None:
    """Remove all that a topic holds now, as retention would."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    partitions = admin.list_topics(topic, timeout=60).topics[topic].partitions
    for future in admin.delete_records([TopicPartition(topic, number, -1) for number in partitions]).values():
        future.result(timeout=60)


def read_raw(
    bootstrap: str, topics: Iterable[str], isolation: str = "read_committed"
) -> Iterator[tuple[str, int, int, bytes | None, bytes | None]]:
    """Yield (topic, partition, offset, key, value) of all that the topics hold now, in order within a partition.

    Transactions that are open now are waited for: brokers answer a commit before they have written the markers that a
    reader goes by.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "tailrace-tests",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
            "auto.offset.reset": "earliest",
            # Only an answer without records tells of an end.
            "fetch.wait.max.ms": 10,
        }
    )
    try:
        metadata = consumer.list_topics(timeout=60).topics
        partitions = {(topic, p) for topic in topics if topic in metadata for p in metadata[topic].partitions}
        ends = _ends(bootstrap, partitions)
        consumer.assign([TopicPartition(topic, p, 0) for topic, p in partitions])
        deadline = time.monotonic() + READ_TIMEOUT_S
        while partitions:
            # To ask for more at once is to wait for them.
            messages = consumer.consume(1, timeout=1.0)
            for message in messages + consumer.consume(5_000, timeout=0):
                error = message.error()
                place = (message.topic() or "", message.partition() or 0)
                if error is not None:
                    if error.code() != KafkaError._PARTITION_EOF:
                        raise AssertionError(f"reading {place}: {error}")
                    if (message.offset() or 0) >= ends[place]:
                        partitions.discard(place)
                    continue
                yield (*place, message.offset() or 0, message.key(), message.value())
            assert time.monotonic() < deadline, f"no end reached in {sorted(partitions)}"
    finally:
        consumer.close()


def announced_loads(bootstrap: str, replication: str) -> dict[str, dict[str, Any]]:
    """Return the announcements of complete loads, by table. What is published behind one is no part of the load."""
    found = {}
    for *_, key, value in read_raw(bootstrap, [f"{replication}.tailrace.schemas"]):
        document = json.loads(key or b"null")
        if isinstance(document, list) and document[0] == "loaded":
            found[document[2]] = json.loads(value or b"null")
    return found


def _ends(bootstrap: str, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Return where partitions end, with what is not committed."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "tailrace-tests", "isolation.level": "read_uncommitted"}
    )
    try:
        return {
            place: consumer.get_watermark_offsets(TopicPartition(*place), timeout=READ_TIMEOUT_S)[1]
            for place in partitions
        }
    finally:
        consumer.close()


def read_topics(bootstrap: str, topics: Iterable[str], registry_topic: str = REGISTRY_TOPIC) -> list[Record]:
    """Return all committed records of the topics, decoded, in order within a partition."""
    decoder = _Decoder(bootstrap, registry_topic)
    return [
        Record(topic, partition, offset, key, None if value is None else decoder.decode(value))
        for topic, partition, offset, key, value in read_raw(bootstrap, topics)
    ]


class _Decoder:
    def __init__(self, bootstrap: str, registry_topic: str) -> None:
        self._bootstrap = bootstrap
        self._registry_topic = registry_topic
        self._texts: dict[int, str] = {}
        self._schemas: dict[int, Any] = {}

    def decode(self, value: bytes) -> dict[str, Any]:
        if value[:1] == b"{":
            document = json.loads(value)
            return dict(document["payload"] if set(document) == {"schema", "payload"} else document)
        schema_id = int.from_bytes(value[1:5], "big")
        if schema_id not in self._schemas:
            if schema_id not in self._texts:
                self._read_registry()
            # Those of all other tests are there, too.
            self._schemas[schema_id] = fastavro.parse_schema(json.loads(self._texts[schema_id]))
        return dict(fastavro.schemaless_reader(io.BytesIO(value[5:]), self._schemas[schema_id], None))  # type: ignore[arg-type]

    def _read_registry(self) -> None:
        for _, _, _, _, value in read_raw(self._bootstrap, [self._registry_topic]):
            document = json.loads(value) if value else {}
            if "schema" in document:
                self._texts[document["id"]] = document["schema"]


def sequence_faults(records: Iterable[Record]) -> list[str]:
    """Return what contradicts the commit sequence's promises, in words.

    No number stands twice (but for a truncate, which goes to every partition of its topic), and in each partition the
    numbers rise strictly: which makes the changes of a key, that has one partition, ordered.
    """
    faults: list[str] = []
    last: dict[tuple[str, int], int] = {}
    seen: dict[int, tuple[str, str]] = {}
    for record in records:
        if record.envelope is None or record.sequence is None:
            continue
        place, sequence, op = (record.topic, record.partition), record.sequence, record.envelope["op"]
        where = f"{record.topic}[{record.partition}] at {record.offset} ({op})"
        if sequence <= last.get(place, -1):
            faults.append(f"{where}: {sequence} after {last[place]}")
        last[place] = sequence
        if sequence in seen and seen[sequence] != (record.topic, "t"):
            faults.append(f"{where}: {sequence} was there before, in {seen[sequence][0]}")
        seen[sequence] = (record.topic, op)
    return faults


def key_faults(records: Iterable[Record]) -> list[str]:
    """Return keys that stand in more than one partition, and changes that cannot follow what their key did before.

    An update or a read row may come for a key that was not seen yet or lives: a table's load meets its log.
    """
    faults: list[str] = []
    partitions: dict[tuple[str, bytes], int] = {}
    alive: dict[tuple[str, int], set[bytes]] = {}
    for record in records:
        where = f"{record.topic}[{record.partition}] at {record.offset}"
        keys = alive.setdefault((record.topic, record.partition), set())
        op = record.envelope["op"] if record.envelope is not None else "tombstone"
        if op == "t":
            # Its key, where compaction asks for one, is not a row's.
            keys.clear()
            continue
        if record.key is None:
            continue
        if partitions.setdefault((record.topic, record.key), record.partition) != record.partition:
            faults.append(f"{where}: its key stands in two partitions")
        if op in ("c", "tombstone") and record.key in keys:
            faults.append(f"{where}: {op} of a key that lives")
        if op in ("d", "tombstone"):
            keys.discard(record.key)
        else:
            keys.add(record.key)
    return faults


def replay(records: Iterable[Record]) -> dict[str, dict[bytes, dict[str, Any]]]:
    """Return the rows that the topics lead to: topic → key → after image, unavailable values from the row before."""
    partitions: dict[tuple[str, int], dict[bytes, dict[str, Any]]] = {}
    for record in records:
        rows = partitions.setdefault((record.topic, record.partition), {})
        envelope = record.envelope
        if envelope is not None and envelope["op"] == "t":
            rows.clear()
        elif record.key is None or envelope is None:
            continue
        elif envelope["op"] == "d":
            rows.pop(record.key, None)
        else:
            row = dict(envelope["after"])
            before = rows.get(record.key, {})
            row.update({column: before.get(column) for column in envelope.get("unavailable") or ()})
            rows[record.key] = row
    tables: dict[str, dict[bytes, dict[str, Any]]] = {}
    for (topic, _), rows in partitions.items():
        tables.setdefault(topic, {}).update(rows)
    return tables
