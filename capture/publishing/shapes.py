"""Records of another form than envelopes under the table's key: rows alone, CloudEvents, keys of other columns.

A shape takes the envelopes that the table's encoder has made and says again what they say, so it knows nothing of the
log, of loads, or of transactions. Envelopes under the table's own key never come here: they are the fast path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from runtime.kafka.producer import Headers
from schemas import envelope
from schemas.changes import UNCHANGED, Row
from schemas.codecs import Encoder, Facts, Pair, SchemaIds, compile_decoder, compile_encoder, wire
from schemas.codecs.codec import Registered
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.registry import avro_schema, canonical_text, schema_id_of
from schemas.routing import Route, inner_format, key_indexes
from schemas.table import TableSchema
from schemas.topic_settings import Cleanup, Deletes, RowField, Shape
from schemas.types.calendar import moment
from schemas.types.form import ConnectSchema
from schemas.types.varints import long


class Shaped(NamedTuple):
    """A record as it is to be produced."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers | None = None


class Origin(NamedTuple):
    """What the names in schemas and envelopes are made of."""

    replication: str
    connector: str
    database: str


class Reshaper:
    """Says envelopes again in one shape; subclasses say what becomes of a change.

    `wire` is what stands on the topic: its schemas and their ids, which `identify` replaces by those of a registry.
    """

    def __init__(self, table: TableSchema, way: Route, origin: Origin) -> None:
        check(table, way)
        self.table = table
        self.way = way
        self.origin = origin
        inner = inner_format(way)
        self.inner = compile_encoder(table, inner, **origin._asdict())
        """The encoder that makes what is reshaped here."""
        self._decoder = compile_decoder(table, inner)
        key = key_indexes(table.column_names, way.key, table.name) if way.key else table.key
        self._keyed = replace(table, key=key)
        keys = compile_encoder(self._keyed, way.format, **origin._asdict())
        text = self._value_text()
        values = Registered(None if text is None else schema_id_of(text), text)
        self.wire = Encoder(table, way.format, Registered(keys.key_schema_id, keys.key_schema_text), values, dict)
        self._key = keys.key
        self._value_head = b"" if values.schema_id is None else wire.header(values.schema_id)

    def identify(self, ids: SchemaIds) -> None:
        """Write other ids from now on."""
        self._key = compile_encoder(self._keyed, self.way.format, **self.origin._asdict(), ids=ids).key
        keys, values = self.wire.key_schema_text, self.wire.value_schema_text
        self.wire = Encoder(self.table, self.way.format, Registered(ids.key, keys), Registered(ids.value, values), dict)
        self._value_head = wire.header(ids.value)

    @property
    def topics(self) -> set[str]:
        """The topics that records went to."""
        return {self.way.topic}

    def records(self, pairs: Sequence[Pair]) -> list[Shaped]:
        """Return what is to be produced for records of the table's encoder (which wrote no tombstones)."""
        out: list[Shaped] = []
        for _, value in pairs:
            if value is None:
                continue
            op, before, after = self._decoder.decode(value)
            if op == "t":
                self._truncate(value, out)
            else:
                row = before if op == "d" else after
                assert row is not None
                self._change(op, row, value, out)
        return out

    def _value_text(self) -> str | None:
        """Return the Avro schema of values, None where the format has none."""
        raise NotImplementedError

    def _change(self, op: str, row: Row, value: bytes, out: list[Shaped]) -> None:
        raise NotImplementedError

    def _truncate(self, value: bytes, out: list[Shaped]) -> None:
        """A truncate, which goes to every partition. Nothing, where records are rows: no row says that all are gone."""

    def _tombstone(self, key: bytes | None, out: list[Shaped]) -> None:
        if self.way.tombstones and key is not None:
            out.append(Shaped(self.way.topic, key, None))


class KeyedEnvelopes(Reshaper):
    """Envelopes under a key of other columns."""

    def _value_text(self) -> str | None:
        return self.inner.value_schema_text

    def _change(self, op: str, row: Row, value: bytes, out: list[Shaped]) -> None:
        key = self._key(row)
        out.append(Shaped(self.way.topic, key, self._again(value)))
        if op == "d":
            self._tombstone(key, out)

    def _truncate(self, value: bytes, out: list[Shaped]) -> None:
        out.append(Shaped(self.way.topic, None, self._again(value)))

    def _again(self, value: bytes) -> bytes:
        if self._value_head:
            return self._value_head + value[wire.HEADER_BYTES :]
        return value


class CloudEvents(Reshaper):
    """Envelopes within CloudEvents 1.0, structured mode (its "JSON Event Format" and "Kafka Protocol Binding")."""

    def _value_text(self) -> str | None:
        return None

    def _change(self, op: str, row: Row, value: bytes, out: list[Shaped]) -> None:
        key = self._key(row)
        out.append(self._event(op, key, value))
        if op == "d":
            self._tombstone(key, out)

    def _truncate(self, value: bytes, out: list[Shaped]) -> None:
        out.append(self._event("t", None, value))

    def _event(self, op: str, key: bytes | None, value: bytes) -> Shaped:
        facts = self._decoder.facts(value)
        event = {
            "specversion": "1.0",
            "id": str(facts.seq),
            "source": f"/tailrace/{self.origin.replication}/{self.table.name}",
            "type": f"tailrace.change.{op}",
            "time": moment(facts.source_ts_us).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "datacontenttype": "application/json",
        }
        data = b'%b,"data":%b}' % (orjson.dumps(event)[:-1], value)
        content: Headers = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
        return Shaped(self.way.topic, key, data, content)


class Rows(Reshaper):
    """The rows alone; what the route asks for of their changes stands in fields behind `__`."""

    def __init__(self, table: TableSchema, way: Route, origin: Origin) -> None:
        super().__init__(table, way, origin)
        is_avro = way.format is Format.AVRO
        self._names = envelope.avro_names(table.column_names) if is_avro else table.column_names
        self._body = self.inner.body
        self._join = self._avro if is_avro else self._json
        self._head, self._close = b"", b""
        if way.format is Format.JSON_WITH_SCHEMA:
            self._head = b'{"schema":' + orjson.dumps(self._schema(table.column_names)) + b',"payload":'
            self._close = b"}"

    def _schema(self, names: Sequence[str]) -> ConnectSchema:
        schema = envelope.row_schema(self.table, self.origin.replication, names) | {"optional": False}
        texts = {RowField.OP, RowField.TABLE, RowField.SCHEMA}
        for field in self.way.fields:
            type_ = "string" if field in texts else "int64"
            schema["fields"].append({"type": type_, "optional": True, "field": f"__{field}"})
        if self.way.deletes is Deletes.REWRITE:
            schema["fields"].append({"type": "boolean", "optional": True, "field": "__deleted"})
        items = {"type": "string", "optional": False}
        schema["fields"].append({"type": "array", "items": items, "optional": True, "field": "__unavailable"})
        return schema

    def _value_text(self) -> str | None:
        if self.way.format is not Format.AVRO:
            return None
        schema = avro_schema(self._schema(envelope.avro_names(self.table.column_names)))
        return canonical_text({**schema, "tailrace.version": self.table.version})

    def _change(self, op: str, row: Row, value: bytes, out: list[Shaped]) -> None:
        key = self._key(row)
        if op == "d" and self.way.deletes is not Deletes.REWRITE:
            if self.way.deletes is Deletes.TOMBSTONE:
                out.append(Shaped(self.way.topic, key, None))
            return
        missing = [self._names[i] for i, v in enumerate(row) if v is UNCHANGED]
        whole = tuple(None if v is UNCHANGED else v for v in row) if missing else row
        facts = self._decoder.facts(value) if self.way.fields else None
        extra: list[Any] = [self._field(field, op, facts) for field in self.way.fields]
        if self.way.deletes is Deletes.REWRITE:
            extra.append(op == "d")
        out.append(Shaped(self.way.topic, key, self._join(self._body(whole), extra, missing)))
        if op == "d":
            self._tombstone(key, out)

    def _field(self, field: RowField, op: str, facts: Facts | None) -> Any:
        assert facts is not None
        values = {
            RowField.OP: op,
            RowField.SEQ: facts.seq,
            RowField.TABLE: self.table.name.table,
            RowField.SCHEMA: self.table.name.schema,
            RowField.TS_MS: facts.ts_us // 1000,
            RowField.SOURCE_TS_MS: facts.source_ts_us // 1000,
        }
        return values[field]

    def _avro(self, body: bytes, extra: Sequence[Any], missing: Sequence[str]) -> bytes:
        parts = [self._value_head, body, *(b"\2" + _avro_value(v) for v in extra)]
        if missing:
            parts += [b"\2", long(len(missing)), *(_avro_value(name) for name in missing), b"\0"]
        else:
            parts.append(b"\0")
        return b"".join(parts)

    def _json(self, body: bytes, extra: Sequence[Any], missing: Sequence[str]) -> bytes:
        if not extra and not missing:
            return self._head + body + self._close
        names = [f"__{field}" for field in self.way.fields] + ["__deleted"]
        more = dict(zip(names, extra, strict=False))
        if missing:
            # Absent, since null would say that there is nothing.
            document = orjson.loads(body)
            body = orjson.dumps({name: v for name, v in document.items() if name not in missing})
            more["__unavailable"] = list(missing)
        comma = b"," if body != b"{}" else b""
        return b"".join((self._head, body[:-1], comma, orjson.dumps(more)[1:], self._close))


SHAPES: dict[Shape, type[Reshaper]] = {
    Shape.ENVELOPE: KeyedEnvelopes,
    Shape.CLOUDEVENT: CloudEvents,
    Shape.ROW: Rows,
}


def _avro_value(value: Any) -> bytes:
    if value.__class__ is bool:
        return b"\1" if value else b"\0"
    if value.__class__ is int:
        return long(value)
    content: bytes = value.encode()
    return long(len(content)) + content


def check(table: TableSchema, way: Route) -> None:
    """Raise CONFIGURATION if the changes of a table cannot go their way."""
    name = str(table.name)
    if way.outbox is not None:
        key_indexes(table.column_names, way.outbox.columns, table.name)
    key_indexes(table.column_names, way.key, table.name)
    columns = {column.name: column for column in table.columns}
    known = set(table.key_names)
    for column in way.key:
        if column in columns and column not in known and columns[column].nullable:
            raise TailraceError(
                ErrorKind.CONFIGURATION,
                f"the column {column} cannot be in a key: it may be null",
                remedy="make it not null at the source, or leave it out of `key` in `topics.overrides`",
                table=name,
            )
    # A session of MySQL may log less than the old row.
    is_told = table.full_before and not (table.key and table.engine == "mysql")
    if way.key and not known >= set(way.key) and not is_told:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            "records cannot be keyed by columns that a delete does not tell",
            remedy="`alter table … replica identity full` at the source, or choose columns of the primary key",
            table=name,
        )
    is_unique = bool(table.key) and (not way.key or set(way.key) >= known)
    if way.cleanup is Cleanup.COMPACT and not is_unique and way.key:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            "a compacted topic would lose rows: several may have the same key",
            remedy="set `cleanup: delete` for it in `topics.overrides`, or add the primary key's columns to `key`",
            table=name,
        )
    if way.shape is Shape.ROW and not table.key and not way.key and way.deletes is Deletes.TOMBSTONE:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            "rows of a table without a key cannot be deleted by a tombstone",
            remedy="set `deletes` to rewrite or drop for it in `topics.overrides`, or give the table a primary key",
            table=name,
        )
