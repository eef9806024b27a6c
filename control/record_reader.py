"""The records of a data topic as JSON lines: for people who have no registry at hand.

Avro records are read with the schemas of the registry, or of the registry topic, by fastavro, as any consumer would
read them, not with the codecs of the services.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import fastavro

from runtime.kafka.compacted import Follower, Record, read_all
from runtime.registry import open_registry
from schemas.codecs import wire
from schemas.errors import ErrorKind, TailraceError
from schemas.registry import parse_registry_record
from schemas.settings import Settings


def lines(settings: Settings, topic: str, records_max: int, *, follow: bool) -> Iterator[str]:
    """Yield the records of a topic from its beginning, committed ones only. Ends at the end unless `follow`."""
    reader = RecordReader(settings)
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


def _document(record: Record, reader: RecordReader) -> dict[str, Any]:
    return {
        "partition": record.partition,
        "offset": record.offset,
        "key": reader.read(record.key),
        "value": reader.read(record.value),
    }


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


class RecordReader:
    """Reads keys and values of any format: they tell it themselves, since no JSON begins with a zero byte."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry = open_registry(settings.registry)
        self._schemas: dict[int, Any] = {}

    def read(self, content: bytes | None) -> Any:
        """Return the document of a key or value. Raises DECODE, also for a schema that the registry lacks."""
        if content is None:
            return None
        if not _is_avro(content):
            try:
                return json.loads(content)
            except ValueError as error:
                raise TailraceError(
                    ErrorKind.DECODE, f"a record of {len(content)} bytes is neither Avro nor JSON"
                ) from error
        schema_id = wire.schema_id(content)
        if schema_id not in self._schemas:
            self._load(schema_id)
        if schema_id not in self._schemas:
            raise TailraceError(
                ErrorKind.DECODE,
                f"neither the registry nor {self._settings.topics.registry_topic} has schema {schema_id}",
            )
        return fastavro.schemaless_reader(io.BytesIO(content[wire.HEADER_BYTES :]), self._schemas[schema_id], None)

    def edited(self, content: bytes, key: bytes | None, values: Mapping[str, Any]) -> bytes:
        """Return an envelope in which columns of the new row have other `values` (JSON), in the form of before.

        Raises CONFIGURATION for a column that is none, or of the key, or a value that its type does not have.
        """
        document = self.read(content)
        envelope = document["payload"] if "payload" in document and "schema" in document else document
        row, of_key = envelope.get("after"), self.read(key) or {}
        if not row:
            raise TailraceError(ErrorKind.CONFIGURATION, "the record has no new row: `skip` it, or `retry` it as it is")
        for name in values:
            if name not in row or name in of_key.get("payload", of_key):
                what = "is of the key" if name in row else f"is none of {', '.join(row)}"
                raise TailraceError(ErrorKind.CONFIGURATION, f"column {name!r} {what}")
        envelope["unavailable"] = [n for n in envelope.get("unavailable") or () if n not in values] or None
        if not _is_avro(content):
            row |= values
            return json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=_plain).encode()
        schema = self._schemas[wire.schema_id(content)]
        types = {field["name"]: field["type"] for field in _row_fields(schema)}
        out = io.BytesIO(content[: wire.HEADER_BYTES])
        out.seek(wire.HEADER_BYTES)
        try:
            row |= {name: _of_json(types[name], value) for name, value in values.items()}
            fastavro.schemaless_writer(out, schema, envelope, strict=True)
        except (ValueError, TypeError, ArithmeticError, AttributeError) as error:
            # The error's own text may hold the value.
            reason = f"a value is none of its column's type ({type(error).__name__})"
            raise TailraceError(ErrorKind.CONFIGURATION, reason) from None
        return out.getvalue()

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


def _is_avro(content: bytes) -> bool:
    return content[:1] == bytes([wire.MAGIC])


def _row_fields(schema: Any) -> list[Any]:
    """Return the fields of an envelope's rows: they are declared where the first row stands."""
    for field in schema["fields"]:
        for branch in field["type"] if isinstance(field["type"], list) else [field["type"]]:
            if field["name"] in {"before", "after"} and isinstance(branch, dict) and "fields" in branch:
                return list(branch["fields"])
    return []


def _of_json(type_: Any, value: Any) -> Any:
    """Return a JSON value as the Avro library takes it for a type: bytes are in hexadecimal."""
    branches = [branch for branch in (type_ if isinstance(type_, list) else [type_]) if branch != "null"]
    kind = branches[0].get("logicalType") or branches[0]["type"] if isinstance(branches[0], dict) else branches[0]
    if value is None or kind == "array":
        return value
    if kind == "decimal":
        return Decimal(str(value))
    if kind == "bytes":
        return bytes.fromhex(value)
    return float(value) if kind in {"float", "double"} else value
