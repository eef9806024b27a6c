"""Records that a real Debezium wrote (tests/recorded/debezium) as rows, by generated functions and the careful way."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from decimal import Decimal
from io import BytesIO
from typing import Any

import fastavro
import orjson
import pytest

from schemas.changes import UNCHANGED
from schemas.codecs import Decoder
from schemas.codecs.wire import header
from schemas.debezium import stated
from schemas.debezium.decoder import PLACEHOLDER, table_schema
from schemas.debezium.reading import Reading, Sample, reading, table_of
from schemas.debezium.writer import avro_schema, envelope_fields, json_schema, json_start, plain_avro
from schemas.endpoints.debezium import DebeziumSource
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.registry import avro_schema as registered_schema
from schemas.registry import canonical_text
from schemas.table import TableName, TableSchema
from schemas.types import Family
from schemas.types.calendar import INFINITY_US
from tests.kit import debezium_mysql
from tests.kit.debezium import PLAIN_TYPES, Recorded, recorded

FORMATS = ["json", "json-with-schema", "avro"]

WKB = "AQEAAAAAAAAAAAD4PwAAAAAAAADA"
EWKB = "0101000020E6100000000000000000F83F00000000000000C0"


def reader(recording: Recorded, connector: str = "postgresql", placeholder: str = PLACEHOLDER) -> Reading:
    source = DebeziumSource.model_validate({"engine": "debezium", "connector": connector, "topics": ["*"]})
    types = stated.Stated(PLAIN_TYPES | debezium_mysql.PLAIN_TYPES, source.times)
    return reading(Format(recording.format), connector, placeholder, types, recording.schemas.__getitem__)


def decoders(recording: Recorded, topic: str, connector: str = "postgresql") -> list[tuple[Decoder, list[bytes]]]:
    """Return the decoders of a topic, each with the values that it reads, as a catalog tells them apart."""
    reads = reader(recording, connector)
    runs: dict[bytes, list[tuple[bytes | None, bytes]]] = {}
    last = b""
    for key, value in recording.records(topic):
        if value is None:
            continue
        if reads.envelope(value)["op"] != "t":
            last = reads.mark(key, value)
        runs.setdefault(last, []).append((key, value))
    found = []
    for version, run in enumerate(runs.values(), 1):
        values = [value for _, value in run]
        sample = Sample(*run[0], values)
        name = table_of(reads.envelope(run[0][1]), connector)
        assert name is not None
        writer = reads.writer(sample, name)
        table = table_schema(name, writer, connector, version)
        found.append((reads.decoder(sample, writer, table), values))
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_generated_functions_read_what_the_careful_way_reads(name: str) -> None:
    recording = recorded(name)
    count = 0
    for topic in recording.table_topics():
        for decoder, values in decoders(recording, topic):
            many = decoder.decode_many(values)
            assert repr(many) == repr([decoder.decode(value) for value in values])
            assert {change[0] for change in many} <= set("cudt"), "a snapshot may come again: its rows are creates"
            assert all(decoder.facts(value).source_ts_us > 1_700_000_000_000_000 for value in values)
            count += len(many)
    assert count > 30


def test_formats_agree() -> None:
    rows = []
    for name in FORMATS:
        recording = recorded(name)
        rows.append(
            {
                # Of what is sent again after a kill, there is more in one run than in the other.
                topic: {repr(c) for d, values in decoders(recording, topic) for c in d.decode_many(values)}
                for topic in recording.table_topics()
            }
        )
    assert rows[0] == rows[1] == rows[2]
    for connector in ("mysql", "mariadb"):
        both = []
        for name in ("json-with-schema", "avro"):
            recording = recorded(name, connector)
            found = (decoders(recording, topic, connector) for topic in recording.table_topics())
            both.append({repr(c) for made in found for d, values in made for c in d.decode_many(values)})
        assert both[0] == both[1]


class Plain(Recorded):
    """A recording in JSON with schemas as the converter writes it without them: the payloads."""

    def __init__(self, connector: str) -> None:
        self.__dict__ |= recorded("json-with-schema", connector).__dict__
        self.format = "json"

    def records(self, topic: str) -> Iterator[tuple[bytes | None, bytes | None]]:
        def payload(data: bytes | None) -> bytes | None:
            return None if data is None else orjson.dumps(orjson.loads(data)["payload"])

        return ((payload(key), payload(value)) for key, value in super().records(topic))


@pytest.mark.parametrize("connector", ["mysql", "mariadb"])
def test_plain_json_of_mysql_is_read_by_the_connectors_own_defaults(connector: str) -> None:
    """Its times are in microseconds whatever their digits, and a `datetime` without digits is in milliseconds."""
    plain, whole = Plain(connector), recorded("json-with-schema", connector)
    rows = [
        [c for topic in one.table_topics() for d, vs in decoders(one, topic, connector) for c in d.decode_many(vs)]
        for one in (plain, whole)
    ]
    assert len(rows[0]) > 25
    assert {repr(change) for change in rows[0]} == {repr(change) for change in rows[1]}


def test_types_and_keys_are_those_of_the_table() -> None:
    (decoder, _), *_ = decoders(recorded("json-with-schema"), "inventory.public.everything")
    table = decoder.table
    assert table.key_names == ("id",)
    natives = {column.name: column.native for column in table.columns}
    assert natives["num"] == "numeric(12,2)"
    assert natives["ta"] == "text[]"
    assert natives["bt"] == "bit(3)"
    assert natives["tstz"] == "timestamp with time zone"
    text = next(column for column in table.columns if column.name == "t")
    assert (text.nullable, text.default) == (False, "'it''s'")
    (composite, _), *_ = decoders(recorded("json-with-schema"), "inventory.public.orders")
    assert composite.table.key_names == ("tenant", "id")
    (keyless, _), *_ = decoders(recorded("json-with-schema"), "inventory.public.keyless")
    assert (keyless.table.key, keyless.table.full_before) == ((), True)


def test_types_of_mysql() -> None:
    (decoder, values), *_ = decoders(recorded("json-with-schema", "mysql"), "inventory.shop.things", "mysql")
    columns = {column.name: column for column in decoder.table.columns}
    natives = {name: column.native for name, column in columns.items()}
    assert (natives["id"], natives["small"], natives["bt"]) == ("bigint", "integer", "bit(13)")
    assert (natives["t"], natives["ts"]) == ("interval", "timestamp with time zone")
    assert columns["with_default"].default == "'it''s'", "the connector leaves the quotes doubled"
    times = {after[decoder.table.column_names.index("t")] for _, _, after in decoder.decode_many(values) if after}
    assert {"PT-3020399S", "PT3020398.999999S"} <= times, "longer than a day, and negative"


def test_values_that_the_log_did_not_hold_are_unchanged() -> None:
    recording = recorded("json-with-schema")
    decoder, values = decoders(recording, "inventory.public.everything")[0]
    names = decoder.table.column_names
    updates = [after for op, _, after in decoder.decode_many(values) if op == "u" and after and after[0] == 10]
    assert updates
    unchanged = {name for name, value in zip(names, updates[0], strict=True) if value is UNCHANGED}
    assert unchanged == {"big", "biga"}, "a text, and an array of numbers"
    # With whole old rows the old row has the value.
    decoder, values = decoders(recording, "inventory.public.orders")[0]
    for op, _, after in decoder.decode_many(values):
        assert op == "d" or (after is not None and UNCHANGED not in after)


def test_the_placeholder_may_be_another() -> None:
    recording, other = recorded("json-with-schema"), "(not-logged)"
    reads = reader(recording, placeholder=other)
    numbers, others = (str(list(text.encode())).replace(" ", "") for text in (PLACEHOLDER, other))
    topic = "inventory.public.everything"
    found = []
    for key, value in recording.records(topic):
        if value is not None and PLACEHOLDER.encode() in value:
            text = value.decode()
            assert numbers in text, "an array of numbers"
            text = text.replace(PLACEHOLDER, other).replace(numbers, others)
            name = TableName("public", "everything")
            sample = Sample(key, text.encode())
            writer = reads.writer(sample, name)
            decoder = reads.decoder(sample, writer, table_schema(name, writer, "postgresql", 1))
            ((op, _, after),) = decoder.decode_many([sample.value])
            assert (op, after is not None and after.count(UNCHANGED)) == ("u", 2)
            found.append(after)
    assert found


def test_a_new_row_without_a_value_is_refused_by_name() -> None:
    decoder, values = decoders(recorded("json-with-schema"), "inventory.public.everything")[0]
    update = next(v for v in values if PLACEHOLDER.encode() in v and b'"op":"u"' in v)
    create = update.replace(b'"op":"u"', b'"op":"c"')
    with pytest.raises(TailraceError, match="lacks the values of 2 columns") as caught:
        decoder.decode_many([update, create])
    assert caught.value.kind is ErrorKind.DECODE
    assert "replica identity full" in (caught.value.remedy or "")


def test_whatever_the_bytes_the_error_is_decode() -> None:
    decoder, values = decoders(recorded("json-with-schema"), "inventory.public.parent")[0]
    for damaged in (
        values[0][:-9],
        values[0].replace(b'"v":"a"', b'"v":7'),
        values[0].replace(b'"id":1', b'"id":null'),
    ):
        with pytest.raises(TailraceError) as caught:
            decoder.decode_many([damaged])
        assert caught.value.kind is ErrorKind.DECODE
    assert caught.value.message == "column 'id', a bigint, holds a NoneType that cannot be one"


SEMANTIC = [
    ("int64", "io.debezium.time.Timestamp", 1500, Family.TIMESTAMP, 1_500_000),
    ("int64", "org.apache.kafka.connect.data.Timestamp", -1, Family.TIMESTAMP, -1000),
    ("int64", "io.debezium.time.NanoTimestamp", 5_000, Family.TIMESTAMP, 5),
    ("int64", "io.debezium.time.MicroTimestamp", 2**63 - 1, Family.TIMESTAMP, INFINITY_US),
    ("int32", "org.apache.kafka.connect.data.Time", 1, Family.TIME, 1000),
    ("int64", "io.debezium.time.NanoTime", 1000, Family.TIME, 1),
    ("string", "io.debezium.time.IsoTimestamp", "1970-01-02T00:00:00.5Z", Family.TIMESTAMP, 86_400_500_000),
    ("string", "io.debezium.time.IsoDate", "1970-01-03Z", Family.DATE, 2),
    ("string", "io.debezium.time.IsoTime", "00:00:01Z", Family.TIME, 1_000_000),
    ("int64", "io.debezium.time.MicroDuration", -1_500_000, Family.INTERVAL, "PT-1.5S"),
    ("int32", "io.debezium.time.Year", 2024, Family.INT32, 2024),
    ("int8", None, -1, Family.INT16, -1),
    ("map", None, {"a": "b"}, Family.JSON, '{"a":"b"}'),
    ("bytes", "io.debezium.data.Bits", "Aw8=", Family.TEXT, "111100000011"),
    ("bytes", "org.apache.kafka.connect.data.Decimal", "/w==", Family.NUMERIC, Decimal("-0.01")),
    ("array", None, [None, "a b"], Family.TEXT, '{NULL,"a b"}'),
    ("struct", "io.debezium.data.geometry.Geometry", {"wkb": WKB, "srid": 4326}, Family.TEXT, EWKB),
    ("string", "somebody.elses.Type", "as it is", Family.STRING, "as it is"),
]


@pytest.mark.parametrize(("type_", "name", "raw", "family", "value"), SEMANTIC)
def test_semantic_types(type_: str, name: str | None, raw: object, family: Family, value: object) -> None:
    field = {"type": type_, "name": name, "parameters": {"length": "12", "scale": "2"}, "items": {"type": "string"}}
    schema = {
        "type": "struct",
        "fields": [
            {"field": "op", "type": "string"},
            {"field": "source", "type": "struct"},
            {"field": "after", "type": "struct", "fields": [{**field, "field": "c", "optional": True}]},
        ],
    }
    content = {
        "op": "c",
        "before": None,
        "after": {"c": raw},
        "source": {"schema": "s", "table": "t", "ts_ms": 1},
    }
    data = b'{"schema":' + orjson.dumps(schema) + b',"payload":' + orjson.dumps(content) + b"}"
    reads = reading(Format.JSON_WITH_SCHEMA, "postgresql", PLACEHOLDER, stated.Stated(), None)
    writer = reads.writer(Sample(None, data), TableName("s", "t"))
    table = table_schema(TableName("s", "t"), writer, "postgresql", 1)
    assert table.columns[0].type.family is family
    assert reads.decoder(Sample(None, data), writer, table).decode_many([data]) == [("c", None, (value,))]
    assert TableSchema.from_document(table.to_document()) == table


def test_plain_json_whose_types_nothing_tells_names_the_columns() -> None:
    data = orjson.dumps({"op": "c", "before": None, "after": {"id": 1, "lost": None}, "source": {}})
    reads = reading(Format.JSON, "postgresql", PLACEHOLDER, stated.Stated(), None)
    with pytest.raises(TailraceError, match="the type of lost") as caught:
        reads.writer(Sample(b'{"id":1}', data), TableName("s", "t"))
    assert caught.value.kind is ErrorKind.CONFIGURATION
    types = {"s.t": {"lost": "circle"}}
    reads = reading(Format.JSON, "postgresql", PLACEHOLDER, stated.Stated(types), None)
    with pytest.raises(TailraceError, match="'circle' is no type"):
        reads.writer(Sample(b'{"id":1}', data), TableName("s", "t"))


def test_records_that_are_no_changes_are_told_apart() -> None:
    recording = recorded("json")
    reads = reader(recording)
    for topic in recording.topics():
        _, value = next(iter(recording.records(topic)))
        assert value is not None
        name = table_of(reads.envelope(value), "postgresql")
        assert (name is not None) == (topic in recording.table_topics()), topic
    with pytest.raises(TailraceError, match="no change event"):
        table_of({"id": 1, "v": "a row alone"}, "postgresql")


def test_avro_with_ids_in_headers_is_refused_with_what_to_set() -> None:
    reads = reading(Format.AVRO, "postgresql", PLACEHOLDER, stated.Stated(), str)
    with pytest.raises(TailraceError, match="does not begin with a schema id") as caught:
        reads.mark(None, b"\x02\x04\x00\x00 3.7.0.Final")
    assert (caught.value.kind, "headers.enabled" in (caught.value.remedy or "")) == (ErrorKind.DECODE, True)


def test_an_avro_schema_is_turned_back_into_connects() -> None:
    row = {
        "type": "record",
        "name": "Value",
        "namespace": "inventory.public.t",
        "fields": [
            {"name": "id", "type": "int"},
            {
                "name": "at",
                "type": [
                    "null",
                    {"type": "long", "connect.version": 1, "connect.name": "io.debezium.time.MicroTimestamp"},
                ],
            },
        ],
    }
    schema = {
        "type": "record",
        "name": "Envelope",
        "namespace": "inventory.public.t",
        "fields": [
            {"name": "before", "type": ["null", row], "default": None},
            {"name": "after", "type": ["null", "Value"], "default": None},
            {"name": "source", "type": {"type": "record", "name": "Source", "fields": []}},
            {"name": "op", "type": "string"},
        ],
    }
    one, two = envelope_fields(avro_schema(orjson.dumps(schema).decode()))
    assert one == {"field": "id", "type": "int32", "optional": False}
    assert (two["type"], two["name"], two["optional"]) == ("int64", "io.debezium.time.MicroTimestamp", True)


def test_avro_says_the_same() -> None:
    """By the schemas that Confluent's converter would make of Connect's."""
    recording = recorded("json-with-schema")
    for topic in recording.table_topics():
        records = [(key, value) for key, value in recording.records(topic) if value is not None]
        texts: dict[str, int] = {}
        framed: list[tuple[bytes | None, bytes]] = []
        for key, value in records:
            framed.append((None if key is None else _framed(key, texts), _framed(value, texts)))
        by_id = {number: text for text, number in texts.items()}
        avro = reading(Format.AVRO, "postgresql", PLACEHOLDER, stated.Stated(), by_id.__getitem__)
        json_ = reader(recording)
        for plain, binary in zip(records, framed, strict=True):
            if json_.envelope(plain[1])["op"] == "t":
                continue
            found = []
            for reads, (key, value) in ((json_, plain), (avro, binary)):
                name = table_of(reads.envelope(value), "postgresql")
                assert name is not None
                writer = reads.writer(Sample(key, value), name)
                decoder = reads.decoder(Sample(key, value), writer, table_schema(name, writer, "postgresql", 1))
                changes = decoder.decode_many([value])
                found.append(repr((changes, key and decoder.decode_key(key), decoder.table.column_names)))
            assert found[0] == found[1]


def _framed(data: bytes, texts: dict[str, int]) -> bytes:
    """Return a JSON record with its schema as a framed Avro record."""
    schema = json_schema(data)
    text = canonical_text(registered_schema(schema))
    number = texts.setdefault(text, len(texts) + 1)
    out = BytesIO()
    content = orjson.loads(data[json_start(data) : -1])
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain_avro(text)), _raw(schema, content))
    return header(number) + out.getvalue()


def _raw(schema: dict[str, Any], value: Any) -> Any:
    """Return a JSON value as Avro has it: bytes instead of base64, floats that are no numbers."""
    if value is None:
        return None
    if schema["type"] == "struct":
        return {field["field"]: _raw(field, value[field["field"]]) for field in schema["fields"]}
    if schema["type"] == "array":
        return [_raw(schema["items"], item) for item in value]
    if schema["type"] == "bytes":
        return b64decode(value)
    return float(value) if schema["type"] in ("float", "double") else value
