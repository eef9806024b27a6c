"""Reads a table's topic back, whatever the form of its records: the changes that it still holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

from apply.sink_kinds.documents import told
from apply.sink_kinds.folding import Told, folded
from apply.sinks.kafka.names import topic_of
from apply.sinks.kafka.records import FORMATS, encoder_of
from runtime.kafka.client import Properties
from runtime.kafka.compacted import Follower
from runtime.registry import Registry
from schemas.changes import UNCHANGED, Row
from schemas.codecs import Decoder, compile_decoder, wire
from schemas.endpoints.kafka import KafkaTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.mappings.object_rule import ObjectMappingRule
from schemas.mappings.objects import check_comparable
from schemas.table import TableSchema

READ_TIMEOUT_S = 24 * 3600.0
"""For a topic from its beginning to its end: whoever waits sees how far it is, and may end it."""

Versions = Callable[[TableSchema], dict[int, TableSchema]]
"""From a table as the target has it to all its versions there, by number."""


class KafkaReader:
    """Implements `apply.row_reader.RowReader`, as long as the topic's retention has kept every change."""

    def __init__(
        self,
        replication: str,
        target: KafkaTarget,
        kafka: Properties,
        versions: Versions,
        *,
        database: str,
        registry: Registry | None,
        objects: Sequence[ObjectMappingRule] = (),
    ) -> None:
        self._objects = objects
        self._replication = replication
        self._target = target
        self._kafka = kafka
        self._versions = versions
        self._database = database
        self._registry = registry

    def rows(self, table: TableSchema) -> Iterator[Row]:
        """See `RowReader`. Raises TARGET_SCHEMA for a table whose records a rule makes."""
        check_comparable(self._objects, table.name)
        topic = topic_of(self._target, self._replication, table)
        if self._target.is_dms:
            return folded(table, told(table, self._values(topic)))
        return folded(table, self._changes(table, topic))

    def close(self) -> None:
        """See `RowReader`. Each topic has a reader of its own."""
        if self._registry is not None:
            self._registry.close()

    def _values(self, topic: str) -> Iterator[bytes]:
        with closing(Follower(self._kafka, topic)) as follower:
            for records in follower.portions(READ_TIMEOUT_S, ends=follower.ends()):
                yield from (record.value for record in records if record.value is not None)

    def _changes(self, table: TableSchema, topic: str) -> Iterator[Told]:
        """Yield changes from envelopes, each read as the version says that wrote it."""
        names = set(table.column_names)
        decoders: dict[int, Decoder] = {}
        mark_of = wire.schema_id if self._target.message_format == "avro" else wire.schema_version
        for value in self._values(topic):
            mark = mark_of(value)
            if mark not in decoders:
                decoders[mark] = self._decoder(table, mark)
            decoder = decoders[mark]
            op, before, after = decoder.decode(value)
            row = after if after is not None else before or ()
            known = {n: v for n, v in zip(decoder.table.column_names, row, strict=False) if v is not UNCHANGED}
            absent = {} if op in "dt" else dict.fromkeys(names - set(decoder.table.column_names))
            yield Told(op, {n: v for n, v in known.items() if n in names} | absent, 0, decoder.facts(value).seq)

    def _decoder(self, table: TableSchema, mark: int) -> Decoder:
        versions, format_ = self._versions(table), FORMATS[self._target.message_format]
        number = mark
        if format_ is Format.AVRO:
            assert self._registry is not None
            schema = json.loads(self._registry.text(mark))
            number = next((n for n, v in versions.items() if self._schema(v) == schema), 0)
        if number not in versions:
            raise TailraceError(
                ErrorKind.TARGET_SCHEMA, "a record was written by a version that is not known", table=str(table.name)
            )
        return compile_decoder(versions[number], format_)

    def _schema(self, version: TableSchema) -> object:
        """Return the Avro schema of a version's envelopes."""
        text = encoder_of(version, self._target, self._replication, self._database).value_schema_text
        return json.loads(text or "null")
