"""Hanging transactions: records that stand in topics without the end of their transaction.

A Kafka transaction ends with a marker in each of its partitions. A broker may owe some: the coordinator leaves out
partitions that have no leader at that moment, such as all of a cluster of one that was killed and comes back
(KAFKA-20734; brokers of 4.x before its fix). What lacks its marker is hidden from readers of committed records, and
hides what comes behind it; and this producer's next transaction in that partition would end it along with itself, in
whichever way. So nothing may be produced before every hanging record has got the end that its transaction had:

* The committed checkpoint tells the last commit sequence in force. A record up to it was committed: it is published
  once more, byte for byte, since it cannot be ended apart from its neighbours. A later one was not: the source has it
  still, because it is told of a commit only after the next one (`Session.commit`).
* If a later record is visible, then its transaction was committed, and its checkpoint is among what hangs.

Every step may be cut off and is then done again: what is to be published once more stands in the checkpoints topic
first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from capture import checkpoints
from runtime import clock
from runtime.failpoints import hit
from runtime.kafka.admin import Topics
from runtime.kafka.compacted import Record, read_all
from runtime.kafka.membership import Partition
from runtime.kafka.producer import Headers, TransactionalProducer
from runtime.kafka.ranges import Range, read_ranges
from runtime.lifecycle import pause
from runtime.logging import get_logger
from schemas.codecs import compile_decoder, wire
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.parts import HEADER
from schemas.registry import NOOP_KEY, parse_table_record
from schemas.routing import Route, outbox_topics, route
from schemas.settings import Settings
from schemas.table import TableSchema
from schemas.topic_settings import Shape
from schemas.topics import checkpoints_topic, ddl_topic, parts_topic, schemas_topic, transactions_topic

log = get_logger(__name__)

END_KEY = b'["end"]'
"""Of records without value that only serve to end a transaction: on topics of ours, where readers pass over them."""

TAIL_OFFSETS = 100
"""Transactions' ends that may stand behind a partition's last record."""

MARKER_TIMEOUT_S = 30.0
"""Markers are written right after a transaction's end is decided; for so long they are waited for."""


def transactional_topics(settings: Settings, topics: Topics, data: Iterable[str]) -> list[str]:
    """Return the topics that capture's transactions write to, `data` and others, as far as they are there."""
    name = settings.name
    own = (checkpoints_topic(name), schemas_topic(name), ddl_topic(name), transactions_topic(name), parts_topic(name))
    wanted = {*own, *data}
    if settings.registry is None:
        wanted.add(settings.topics.registry_topic)
    existing = topics.list().keys()
    return sorted(wanted.union(outbox_topics(settings, existing)) & existing)


def settle(settings: Settings, topics: Topics, producer: TransactionalProducer) -> None:
    """End what hangs. To be called after the transactional id was claimed, and before anything is read or produced.

    Raises TRANSPORT as Kafka does: to be tried again.
    """
    sequences = _Sequences(settings)
    names = transactional_topics(settings, topics, sequences.topics)
    hanging = wait_for_markers(topics, names)
    checkpoints_name = checkpoints_topic(settings.name)
    pending = _pending(read_all(settings.kafka, checkpoints_name))
    if not hanging and not pending:
        return
    log.warning("ends transactions that a broker left hanging", partitions=len(hanging), pending=len(pending))
    for topic, end_key in (
        (schemas_topic(settings.name), END_KEY),
        (settings.topics.registry_topic, NOOP_KEY),
        (parts_topic(settings.name), END_KEY),
    ):
        # A version, or a part, that no change refers to does no harm.
        if (topic, 0) in hanging:
            _end(producer, [(topic, 0)], end_key, commit=True)
            del hanging[topic, 0]
    if (checkpoints_name, 0) in hanging:
        commit = _is_checkpoint_committed(settings, topics, names, sequences)
        _end(producer, [(checkpoints_name, 0)], END_KEY, commit=commit)
        del hanging[checkpoints_name, 0]
        hit("capture.settle.checkpoint")
    if hanging and not pending:
        pending = _keep_committed(settings, producer, hanging, sequences)
        hit("capture.settle.kept")
    _end(producer, list(hanging), END_KEY, commit=False)
    hit("capture.settle.ended")
    _publish_again(producer, checkpoints_name, pending)
    hit("capture.settle.again")
    if left := wait_for_markers(topics, names):
        log.warning("open transactions of other producers", partitions=_listed(left))


def check(settings: Settings, topics: Topics, data: Iterable[str]) -> None:
    """Raise TRANSPORT if something hangs while a session goes on without an open transaction: another settles it."""
    if hanging := wait_for_markers(topics, transactional_topics(settings, topics, data)):
        raise TailraceError(
            ErrorKind.TRANSPORT, f"a broker went away and left transactions hanging in {_listed(hanging)}"
        )


def _listed(partitions: Iterable[Partition]) -> str:
    names = [f"{topic}[{number}]" for topic, number in sorted(partitions)]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def wait_for_markers(
    topics: Topics, names: Sequence[str], timeout_s: float = MARKER_TIMEOUT_S
) -> dict[Partition, Range]:
    """Return what hangs still after the markers that are under way have had time to come."""
    deadline = clock.monotonic() + timeout_s
    pause_s = 0.05
    before: dict[Partition, Range] = {}
    while hanging := topics.unended(names):
        # Unchanged over a pause that is long for a marker: nothing is under way.
        if (hanging == before and pause_s > 1.0) or clock.monotonic() > deadline:
            return hanging
        before = hanging
        pause(pause_s, "transactions wait for their end")
        pause_s = min(2.0, pause_s * 2)
    return {}


class _Sequences:
    """Finds the commit sequence of records of any topic that knows it."""

    def __init__(self, settings: Settings) -> None:
        self._ways: dict[str, Route] = {}
        self._tables: dict[tuple[str, int], TableSchema] = {}
        self._documents = (ddl_topic(settings.name), transactions_topic(settings.name))
        # The version of a table may itself stand in a transaction that was aborted.
        for key, value in read_all(settings.kafka, schemas_topic(settings.name), committed=False).items():
            if isinstance(orjson.loads(key), dict):
                version = parse_table_record(value)
                way = route(settings, version.table.name)
                mark = version.value_schema_id if way.format is Format.AVRO else version.table.version
                self._tables[way.topic, mark or 0] = version.table
                self._ways[way.topic] = way

    @property
    def topics(self) -> set[str]:
        """The topics of all tables that there ever were."""
        return {topic for topic, _ in self._tables}

    def of(self, topic: str, value: bytes) -> int | None:
        """Return a record's commit sequence, None if it was written with a schema that nobody published."""
        if topic in self._documents:
            return int(orjson.loads(value)["seq"])
        way = self._ways.get(topic)
        if way is None or way.shape is not Shape.ENVELOPE or way.outbox is not None:
            # Rows say nothing of it. The mark in the same transaction does.
            return None
        mark = wire.schema_id(value) if way.format is Format.AVRO else wire.schema_version(value)
        table = self._tables.get((topic, mark))
        return None if table is None else compile_decoder(table, way.format).facts(value).seq

    def last(self, topic: str, records: Iterable[Record]) -> int:
        """Return the highest sequence of some records, 0 if there is none."""
        found = (self.of(topic, record.value) for record in records if record.value is not None)
        return max((sequence for sequence in found if sequence is not None), default=0)


def _is_checkpoint_committed(
    settings: Settings,
    topics: Topics,
    names: Sequence[str],
    sequences: _Sequences,
) -> bool:
    """Tell whether the checkpoint that hangs was committed: whether anything else of its transaction is visible."""
    committed = checkpoints.read(settings).sequence
    schemas = {schemas_topic(settings.name), settings.topics.registry_topic}
    data = set(names) - {checkpoints_topic(settings.name)} - schemas
    # A transaction's last record stands right before its marker.
    return _last_visible(settings, topics, data, sequences, depth=2) > committed


def last_sequence(settings: Settings, topics: Topics) -> int:
    """Return the highest commit sequence that stands near the ends of the tables' topics, 0 if there is none."""
    sequences = _Sequences(settings)
    existing = sequences.topics & topics.list().keys()
    return _last_visible(settings, topics, existing, sequences, depth=TAIL_OFFSETS)


def _last_visible(
    settings: Settings, topics: Topics, names: Iterable[str], sequences: _Sequences, *, depth: int
) -> int:
    stable = topics.end_offsets(names)
    begins = topics.begin_offsets(names)
    tails = read_ranges(settings.kafka, {p: (max(begins.get(p, 0), end - depth), end) for p, end in stable.items()})
    return max((sequences.last(topic, records) for (topic, _), records in tails.items()), default=0)


def _keep_committed(
    settings: Settings, producer: TransactionalProducer, hanging: Mapping[Partition, Range], sequences: _Sequences
) -> dict[bytes, bytes]:
    """Write the committed ones among the hanging records to the checkpoints topic; return what was written."""
    committed = checkpoints.read(settings).sequence
    kept: dict[bytes, bytes] = {}
    for (topic, number), records in read_ranges(settings.kafka, hanging, committed=False).items():
        keeps = False
        for record in records:
            if record.value is not None:
                sequence = sequences.of(topic, record.value)
                keeps = sequence is not None and sequence <= committed
            # A tombstone shares the fate of the delete before it.
            if keeps:
                kept[orjson.dumps(["again", topic, number, record.offset])] = _pack(
                    record.key, record.value, record.headers.get(HEADER)
                )
    if kept:
        producer.begin()
        for key, value in kept.items():
            producer.produce(checkpoints_topic(settings.name), key, value)
        producer.commit()
    return kept


def _publish_again(producer: TransactionalProducer, checkpoints_name: str, pending: Mapping[bytes, bytes]) -> None:
    if not pending:
        return
    log.warning("publishes committed records once more", records=len(pending))
    producer.begin()
    for key, packed in sorted(pending.items(), key=lambda entry: orjson.loads(entry[0])[1:]):
        _, topic, number, _ = orjson.loads(key)
        record_key, value, parts = _unpack(packed)
        headers: Headers | None = None if parts is None else [(HEADER, parts)]
        producer.produce(topic, record_key, value, number, headers)
        producer.produce(checkpoints_name, key, None)
    producer.commit()


def _end(producer: TransactionalProducer, partitions: Sequence[Partition], key: bytes, *, commit: bool) -> None:
    """End what hangs in these partitions: a marker of this producer ends all that it ever left open there."""
    if not partitions:
        return
    producer.begin()
    for topic, number in partitions:
        producer.produce(topic, key, None, partition=number)
    if commit:
        producer.commit()
    else:
        # It delivers the records first: only a partition that got one gets a marker.
        producer.abort()


def _pending(records: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return the records that were to be published once more when a session was cut off."""
    return {key: value for key, value in records.items() if key.startswith(b'["again",')}


def _pack(key: bytes | None, value: bytes | None, parts: str | None) -> bytes:
    """Return a record in one piece; `parts` is the header of a large one, which others lack."""
    head: Any = [None if part is None else len(part) for part in (key, value)]
    return orjson.dumps(head if parts is None else [*head, parts]) + b"\n" + (key or b"") + (value or b"")


def _unpack(packed: bytes) -> tuple[bytes | None, bytes | None, str | None]:
    end = packed.index(b"\n")
    key_length, value_length, *more = orjson.loads(packed[:end])
    begin = end + 1
    split = begin + (key_length or 0)
    if len(packed) != split + (value_length or 0):
        raise TailraceError(ErrorKind.DECODE, "a record kept in the checkpoints topic is damaged")
    return (
        None if key_length is None else packed[begin:split],
        None if value_length is None else packed[split:],
        more[0] if more else None,
    )
