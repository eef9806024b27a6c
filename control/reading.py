"""The records of a data topic as JSON lines: for people who have no registry at hand.

Avro records are read with the schemas of the registry, or of the registry topic, by fastavro, as any consumer would
read them, not with the codecs of the services.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import fastavro

from runtime.kafka.compacted import Follower, Record, read_all
from runtime.registry import open_registry
from schemas.codecs import wire
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.registry import parse_registry_record
from schemas.settings import Settings


def lines(settings: Settings, topic: str, records_max: int, *, follow: bool) -> Iterator[str]:
    """Yield the records of a topic from its beginning, committed ones only. Ends at the end unless `follow`."""
    reader = Reader(settings)
    follower = Follower(settings.kafka, topic)
    left = records_max
    try:
        batch = follower.poll(5.0, left) if follow else follower.catch_up()
        while left > 0 and (batch or follow):
            for record in batch[:left]:
                yield json.dumps(_document(record, reader), ensure_ascii=False, default=_plain)
            left -= len(batch)
            batch = follower.poll(1.0, max(1, left)) if follow else []
    finally:
        follower.close()


def _document(record: Record, reader: Reader) -> dict[str, Any]:
    return {
        "partition": record.partition,
        "offset": record.offset,
        "key": reader.read(record.key),
        "value": reader.read(record.value),
    }


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


class Reader:
    """Reads keys and values in the format of the configuration."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry = open_registry(settings.registry)
        self._schemas: dict[int, Any] = {}

    def read(self, content: bytes | None) -> Any:
        """Return the document of a key or value. Raises DECODE, also for a schema that the registry lacks."""
        if content is None:
            return None
        if self._settings.topics.format is not Format.AVRO:
            try:
                return json.loads(content)
            except ValueError as error:
                raise TailraceError(ErrorKind.DECODE, f"a record of {len(content)} bytes is no JSON") from error
        schema_id = wire.schema_id(content)
        if schema_id not in self._schemas:
            self._load(schema_id)
        if schema_id not in self._schemas:
            raise TailraceError(
                ErrorKind.DECODE,
                f"neither the registry nor {self._settings.topics.registry_topic} has schema {schema_id}",
            )
        return fastavro.schemaless_reader(io.BytesIO(content[wire.HEADER_BYTES :]), self._schemas[schema_id], None)

    def _load(self, schema_id: int) -> None:
        if self._registry is not None:
            try:
                self._schemas[schema_id] = fastavro.parse_schema(json.loads(self._registry.text(schema_id)))
            except TailraceError as error:
                # One that it does not have may be of the time before it was configured.
                if error.kind is not ErrorKind.DECODE:
                    raise
            else:
                return
        for key, value in read_all(self._settings.kafka, self._settings.topics.registry_topic).items():
            if schema := parse_registry_record(key, value):
                self._schemas[schema.schema_id] = fastavro.parse_schema(json.loads(schema.text))
