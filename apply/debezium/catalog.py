"""The tables of topics that Debezium wrote: their versions come from the records themselves.

Whoever meets records of a new writer first publishes what it means to the replication's own schemas topic, under a
transactional id that all appliers share: so versions are numbered once, for all of them and for good. Everything behind
this module then is as if a capture had written the topics.

Debezium has no commit sequence, and sends again what it had not noted as sent before it died. The order of a partition
is the order; `sequence` is the Kafka offset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from apply.schema_catalog import Consumed, Records, SchemaCatalog, TopicSchemas
from runtime.logging import get_logger
from schemas.codecs import Decoder
from schemas.debezium.decoder import table_schema
from schemas.debezium.reading import Reading, Sample, table_of
from schemas.debezium.writer import Writer
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.registry import TableVersion, table_record
from schemas.table import TableName, TableSchema

log = get_logger(__name__)

TRUNCATE = b"truncate "
"""What precedes the marks of truncates."""

Addition = tuple[bytes, bytes]
"""The key and value of a record for the schemas topic."""

Publish = Callable[[Callable[[], Sequence[Addition]]], None]
"""Calls a function while no other applier of the replication can publish, and publishes what it returns, all or none.
The function may be called more than once."""

Samples = Callable[[frozenset[str]], Mapping[str, Sample | None]]
"""Returns the topics that are to be applied, beside the given ones, with a record of each; None for one that holds
something else than the changes of a table."""


class _Known(NamedTuple):
    """Records of one writer: how they begin, and their mark."""

    key_head: bytes | None
    value_head: bytes
    mark: bytes

    def wrote(self, key: bytes | None, value: bytes) -> bool:
        """Tell whether a record is of this writer."""
        if key is None or self.key_head is None:
            return key is self.key_head and value.startswith(self.value_head)
        return key.startswith(self.key_head) and value.startswith(self.value_head)


@dataclass(slots=True)
class _Written:
    """A writer as the schemas topic knows it."""

    version: int
    writer: Writer


class DebeziumCatalog(SchemaCatalog):
    """See the module. One per applier; used by one thread."""

    def __init__(
        self,
        replication: str,
        read: Callable[[], Records],
        read_to_end: Callable[[], Records],
        reading: Reading,
        *,
        connector: str,
        publish: Publish,
        samples: Samples,
        partition_count: Callable[[str], int],
    ) -> None:
        super().__init__(replication, Format.JSON, read)
        self._read_to_end = read_to_end
        self._reading = reading
        self._connector = connector
        self._publish = publish
        self._samples = samples
        self._partition_count = partition_count
        self._names: dict[TableName, str] = {}
        """The topic of each table."""
        self._written: dict[tuple[str, bytes], _Written] = {}
        """By topic and mark."""
        self._known: dict[str, list[_Known]] = {}
        """By topic, the writers that were met by this process, the last one first."""
        self._met: dict[tuple[str, bytes], Sample] = {}
        """By topic and mark, a record of it."""
        self._decoders: dict[tuple[str, bytes], Decoder] = {}
        self._others: set[str] = set()
        """Topics that hold something else."""

    def refresh(self) -> None:
        """Take in what is new on the schemas topic, and the topics that have come. Raises DECODE, CONFIGURATION."""
        super().refresh()
        found = self._samples(frozenset(self.topics) | self._others)
        for topic in [topic for topic, sample in found.items() if sample is None]:
            log.info("topic left out: it holds no changes of a table", topic=topic)
            self._others.add(topic)
        fresh = [(topic, sample) for topic, sample in found.items() if sample is not None]
        if fresh:
            self._register(fresh)

    def mark_of(self, topic: str, value: bytes, key: bytes | None = None) -> bytes:
        """Return the mark of a record's writer; register one that is new. Raises DECODE, CONFIGURATION."""
        return self._mark(topic, Sample(key, value))

    def marks(self, topic: str, values: list[bytes], keys: Sequence[bytes | None] = ()) -> set[bytes]:
        """Return all marks of many records at once. Raises as `mark_of`."""
        keys = keys or [None] * len(values)
        known = self._known.get(topic)
        if known:
            wrote = known[0].wrote
            if all(wrote(key, value) for key, value in zip(keys, values, strict=True)):
                return {known[0].mark}
        return {self._mark(topic, Sample(key, value, values)) for key, value in zip(keys, values, strict=True)}

    def decoder(self, topic: str, mark: bytes) -> Decoder:
        """Return what reads the records of a mark that `mark_of` returned."""
        found = self._decoders.get((topic, mark))
        if found is None:
            written = self._written[topic, mark]
            table = self.topics[topic].versions[written.version]
            found = self._reading.decoder(self._met[topic, mark], written.writer, table)
            self._decoders[topic, mark] = found
        return found

    def sequence(self, decoder: Decoder, record: Consumed) -> int:
        """Return the number of a truncate: its offset.

        Raises DECODE where its place among the records of other partitions is not known.
        """
        topic = self._names[decoder.table.name]
        partition_count = self._partition_count(topic)
        if partition_count > 1:
            raise TailraceError(
                ErrorKind.DECODE,
                f"{topic} holds a truncate and has {partition_count} partitions: what precedes it in the others is not "
                "known, since Debezium writes it to one only",
                remedy="let the connector skip truncates (`skipped.operations: t`), or give such a table's topic one "
                "partition; `apply.errors.decode: skip` passes this one",
                table=str(decoder.table.name),
            )
        offset: int = record.offset()
        return offset

    # --- marks -----------------------------------------------------------------------------------------------------

    def _mark(self, topic: str, sample: Sample) -> bytes:
        known = self._known.setdefault(topic, [])
        for place, writer in enumerate(known):
            if writer.wrote(sample.key, sample.value):
                if place:
                    known.insert(0, known.pop(place))
                return writer.mark
        mark = self._reading.mark(sample.key, sample.value)
        if sample.key is None and self._is_truncate(topic, sample.value):
            # It has no key, whatever the table's is: so it is no writer of its own.
            mark = TRUNCATE + mark
            if (topic, mark) not in self._met:
                self._met[topic, mark] = sample._replace(more=())
                self._written[topic, mark] = self._newest(topic)
            return mark
        if (topic, mark) not in self._met:
            if (topic, mark) not in self._written:
                self._register([(topic, sample)])
            self._met[topic, mark] = sample._replace(more=())
        heads = self._reading.heads(sample.key, sample.value)
        if heads is not None:
            known.insert(0, _Known(*heads, mark))
        return mark

    def _newest(self, topic: str) -> _Written:
        written = [written for (other, _), written in self._written.items() if other == topic]
        return max(written, key=lambda written: written.version)

    def _is_truncate(self, topic: str, value: bytes) -> bool:
        """Tell whether a record without a key is a truncate of a table that has one."""
        known = self.topics.get(topic)
        return known is not None and bool(known.newest.key) and self._reading.envelope(value).get("op") == "t"

    # --- the schemas topic -----------------------------------------------------------------------------------------

    def _register(self, samples: Iterable[tuple[str, Sample]]) -> None:
        """Publish what records of new writers mean, unless another applier has done so meanwhile."""

        def additions() -> list[Addition]:
            self._fold(self._read_to_end())
            found: list[Addition] = []
            for topic, sample in samples:
                found += self._additions(topic, sample)
            return found

        self._publish(additions)
        self._fold(self._read_to_end())

    def _additions(self, topic: str, sample: Sample) -> list[Addition]:
        mark = self._reading.mark(sample.key, sample.value)
        if (topic, mark) in self._written:
            return []
        name = table_of(self._reading.envelope(sample.value), self._connector)
        if name is None:
            raise TailraceError(
                ErrorKind.DECODE,
                f"{topic} holds changes of a table, and a record that is none",
                remedy="leave the topic out under `source.topics`",
            )
        self._check_name(topic, name)
        writer = self._reading.writer(sample, name)
        versions = self.topics[topic].versions if topic in self.topics else {}
        made = table_schema(name, writer, self._connector, max(versions, default=0) + 1)
        same = next((v for v, table in versions.items() if table.fingerprint == made.fingerprint), None)
        if same is None:
            log.info("table met" if not versions else "table changed", table=str(name), version=made.version)
        document: dict[str, Any] = {
            "topic": topic,
            "version": same or made.version,
            "key": writer.key,
            "fields": writer.fields,
        }
        if writer.ours is not None:
            document["ours"] = writer.ours.to_document()
        key = orjson.dumps(["writer", *name, mark.hex()])
        # The writer first: it says which topic the table's version is of.
        records = [(key, orjson.dumps(document))]
        if same is None:
            records.append((*table_record(TableVersion(made, None, None)),))
        return records

    def _check_name(self, topic: str, name: TableName) -> None:
        other = self._names.get(name)
        if other not in (None, topic):
            raise TailraceError(
                ErrorKind.CONFIGURATION,
                f"{other} and {topic} both hold changes of {name}",
                remedy="leave one of them out under `source.topics`",
            )
        if topic in self.topics and self.topics[topic].name != name:
            raise TailraceError(
                ErrorKind.DECODE,
                f"{topic} holds changes of {self.topics[topic].name} and of {name}: a topic is for one table here",
                remedy="route each table to a topic of its own, or leave the topic out under `source.topics`",
            )
        # At once: a second topic of the table may come in the same look.
        self._names[name] = topic

    def _take(self, key: Any, document: dict[str, Any]) -> bool:
        if isinstance(key, list) and key[:1] == ["writer"]:
            _, schema, table, mark = key
            topic = document["topic"]
            self._names[TableName(schema, table)] = topic
            ours = TableSchema.from_document(document["ours"]) if "ours" in document else None
            writer = Writer(tuple(document["fields"]), tuple(document["key"]), ours)
            self._written[topic, bytes.fromhex(mark)] = _Written(int(document["version"]), writer)
            return False
        return super()._take(key, document)

    def _topic(self, name: TableName) -> TopicSchemas:
        topic = self._names[name]
        if topic not in self.topics:
            self.topics[topic] = TopicSchemas(name)
        return self.topics[topic]
