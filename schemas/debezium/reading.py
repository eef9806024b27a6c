"""How the records of a topic are told apart by their writers, one class per format.

A record's mark stands for the schemas of its key and value. `heads` finds the bytes that are equal in all records of
one writer, so that a look at a record's first bytes is enough while nothing changes; plain JSON has no such bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

import orjson

from schemas.codecs import Decoder, wire
from schemas.debezium import decoder, ours, stated
from schemas.debezium.writer import Writer, avro_schema, envelope_fields, json_schema, json_start, key_names
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.table import TableName, TableSchema

NOT_CHANGES = frozenset({"BEGIN", "END"})
"""The `status` of transaction metadata."""


class Sample(NamedTuple):
    """A record that a writer is known by, and others like it."""

    key: bytes | None
    value: bytes
    more: Sequence[bytes] = ()
    """Further values of the topic: types are inferred from them where nothing states them."""


Versions = Callable[[ours.Author], TableSchema]
"""Returns the version of a table that a capture of ours wrote a record with. Raises DECODE, TRANSPORT."""


class Reading(Protocol):
    """Reads one format."""

    def heads(self, key: bytes | None, value: bytes) -> tuple[bytes | None, bytes] | None:
        """Return what keys and values of the same writer begin with; None where only their content tells."""
        ...

    def mark(self, key: bytes | None, value: bytes) -> bytes:
        """Return the mark of a record's writer: equal schemas, equal marks, in every process. Raises DECODE."""
        ...

    def envelope(self, value: bytes) -> dict[str, Any]:
        """Return a value's content. Raises DECODE."""
        ...

    def writer(self, sample: Sample, table: TableName) -> Writer:
        """Return the schema that a record was written with. Raises DECODE, CONFIGURATION."""
        ...

    def decoder(self, sample: Sample, written: Writer, table: TableSchema) -> Decoder:
        """Return what reads the records of a sample's writer as rows of `table`."""
        ...


def reading(
    format_: Format,
    connector: str,
    placeholder: str,
    types: stated.Stated,
    schema_text: Callable[[int], str] | None,
    versions: Versions | None = None,
) -> Reading:
    """Return what reads a format. `schema_text` returns an Avro schema by its id, and may raise TRANSPORT. Without
    `versions` plain JSON of captures of ours is refused.
    """
    if format_ is Format.AVRO:
        assert schema_text is not None, "the settings see to it"
        return _Avro(connector, placeholder, schema_text)
    if format_ is Format.JSON:
        return _Plain(connector, placeholder, types, versions)
    return _WithSchema(connector, placeholder)


def table_of(envelope: Mapping[str, Any], connector: str) -> TableName | None:
    """Return the table that a change is of; None for a record that is no change of a table. Raises DECODE."""
    source = envelope.get("source")
    if envelope.get("status") in NOT_CHANGES or "databaseName" in envelope or envelope.get("op") == "m":
        return None
    if set(envelope) == {"ts_ms"}:
        return None
    try:
        assert isinstance(source, dict)
        space = source["schema"] if connector == "postgresql" else source["db"]
        return TableName(str(space), str(source["table"]))
    except (AssertionError, KeyError):
        raise TailraceError(
            ErrorKind.DECODE,
            "a record is no change event of Debezium: it has no `source` that names a table",
            remedy="the topic must hold what the connector writes: no transformation such as ExtractNewRecordState; "
            "leave out other topics under `source.topics`",
        ) from None


class _WithSchema:
    def __init__(self, connector: str, placeholder: str) -> None:
        self._connector = connector
        self._placeholder = placeholder

    def heads(self, key: bytes | None, value: bytes) -> tuple[bytes | None, bytes] | None:
        return None if key is None else key[: json_start(key)], value[: json_start(value)]

    def mark(self, key: bytes | None, value: bytes) -> bytes:
        key_head, value_head = self.heads(key, value) or (None, b"")
        return _digest(key_head, value_head)

    def envelope(self, value: bytes) -> dict[str, Any]:
        return _object(value[json_start(value) : -1])

    def writer(self, sample: Sample, table: TableName) -> Writer:
        schema = json_schema(sample.value)
        key = None if sample.key is None else json_schema(sample.key)
        return Writer(envelope_fields(schema), key_names(key))

    def decoder(self, sample: Sample, written: Writer, table: TableSchema) -> Decoder:
        form = decoder.Form(
            Format.JSON_WITH_SCHEMA,
            value_start=json_start(sample.value),
            key_start=0 if sample.key is None else json_start(sample.key),
            connector=self._connector,
            placeholder=self._placeholder,
        )
        return decoder.compile_decoder(table, written, form)


class _Avro:
    def __init__(self, connector: str, placeholder: str, schema_text: Callable[[int], str]) -> None:
        self._connector = connector
        self._placeholder = placeholder
        self._schema_text = schema_text

    def heads(self, key: bytes | None, value: bytes) -> tuple[bytes | None, bytes] | None:
        _schema_id(value)
        return None if key is None else key[: wire.HEADER_BYTES], value[: wire.HEADER_BYTES]

    def mark(self, key: bytes | None, value: bytes) -> bytes:
        # The texts, not the ids: another registry gives others.
        key_text = None if key is None else self._text(key).encode()
        return _digest(key_text, self._text(value).encode())

    def envelope(self, value: bytes) -> dict[str, Any]:
        return decoder.avro_parser(self._text(value))(value)

    def writer(self, sample: Sample, table: TableName) -> Writer:
        key = None if sample.key is None else avro_schema(self._text(sample.key))
        return Writer(envelope_fields(avro_schema(self._text(sample.value))), key_names(key))

    def decoder(self, sample: Sample, written: Writer, table: TableSchema) -> Decoder:
        form = decoder.Form(
            Format.AVRO,
            self._text(sample.value),
            None if sample.key is None else self._text(sample.key),
            connector=self._connector,
            placeholder=self._placeholder,
        )
        return decoder.compile_decoder(table, written, form)

    def _text(self, data: bytes) -> str:
        return self._schema_text(_schema_id(data))


class _Plain:
    def __init__(self, connector: str, placeholder: str, types: stated.Stated, versions: Versions | None) -> None:
        self._connector = connector
        self._placeholder = placeholder
        self._types = types
        self._versions = versions

    def heads(self, key: bytes | None, value: bytes) -> tuple[bytes | None, bytes] | None:
        return None

    def mark(self, key: bytes | None, value: bytes) -> bytes:
        envelope = _object(value)
        author = ours.author_of(envelope)
        row = envelope.get("after") or envelope.get("before") or {}
        # Of ours a version tells more than the names: columns of one name may change their types.
        written = orjson.dumps(list(row) if author is None else author.key())
        table = table_of(envelope, self._connector)
        types = orjson.dumps(
            [dict(self._types.types.get(str(table), {})), self._types.times, self._types.decimals, self._types.binary]
        )
        return _digest(None if key is None else orjson.dumps(list(_object(key))), written + types)

    def envelope(self, value: bytes) -> dict[str, Any]:
        return _object(value)

    def writer(self, sample: Sample, table: TableName) -> Writer:
        key = () if sample.key is None else tuple(_object(sample.key))
        author = ours.author_of(_object(sample.value))
        if author is not None:
            version = self._version(author)
            return Writer(ours.fields_of(version, self._connector, self._types, str(table)), key, version)
        rows = []
        names: list[str] | None = None
        for value in (sample.value, *sample.more):
            envelope = _object(value)
            if ours.author_of(envelope) is not None:
                continue
            for row in (envelope.get("after"), envelope.get("before")):
                if row and names in (None, list(row)):
                    names = list(row)
                    rows.append(row)
        return Writer(stated.fields_of(str(table), rows, self._types), key)

    def decoder(self, sample: Sample, written: Writer, table: TableSchema) -> Decoder:
        form = decoder.Form(Format.JSON, connector=self._connector, placeholder=self._placeholder)
        return decoder.compile_decoder(table, written, form)

    def _version(self, author: ours.Author) -> TableSchema:
        if self._versions is None:
            raise TailraceError(ErrorKind.DECODE, f"a record is of the capture {author.replication}, unexpectedly")
        return self._versions(author)


def _schema_id(data: bytes) -> int:
    try:
        return wire.schema_id(data)
    except TailraceError as error:
        raise TailraceError(
            error.kind,
            error.message,
            remedy="check `source.format`; the converter must write Confluent's wire format, the id in front of the "
            "content (of Apicurio's converter: `as-confluent: true` and `headers.enabled: false`)",
        ) from None


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(data)
        if not isinstance(found, dict):
            raise TypeError
    except (ValueError, TypeError):
        raise TailraceError(
            ErrorKind.DECODE,
            f"a record of {len(data)} bytes holds no JSON object",
            remedy="check that `source.format` says how Kafka Connect's converter writes",
        ) from None
    return found


def _digest(key: bytes | None, value: bytes) -> bytes:
    head = b"-" if key is None else b"+%d:%b" % (len(key), key)
    return sha256(head + value).digest()[:16]
