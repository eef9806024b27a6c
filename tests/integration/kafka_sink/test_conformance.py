"""The Kafka sink passes the conformance suite of sinks, on a real broker, in each of its forms."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, cast

import pytest
from confluent_kafka.admin import AdminClient

from apply.sink import Sink, TableBatch
from apply.sinks.kafka.sink import KafkaSink
from deploy.local.kafka import KafkaAddress
from runtime.registry import open_registry
from schemas.changes import UNCHANGED
from schemas.codecs import Format, compile_decoder, wire
from schemas.endpoints.kafka import KafkaTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema
from tests.conformance.changes import Giver, Seen
from tests.conformance.sink_suite import EVENTS, ORDERS, ORDERS_2, P0, SinkSuite
from tests.kit.documents import history
from tests.kit.topics import read_raw

pytestmark = pytest.mark.integration


class _KafkaSuite(SinkSuite):
    more: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def sink(self, kafka_server: KafkaAddress, replication: str) -> Iterator[Sink]:
        yield from self.begin(kafka_server, replication)

    def begin(self, server: KafkaAddress, replication: str, **more: Any) -> Iterator[Sink]:
        self.bootstrap, self.replication = server.bootstrap, replication
        document = {"engine": "kafka", "kafka": {"bootstrap.servers": server.bootstrap}, **self.more, **more}
        self.section = KafkaTarget.model_validate(document)
        self.opened: list[KafkaSink] = []
        yield self.open()
        for sink in self.opened:
            sink.close()

    def open(self) -> Sink:
        registry = open_registry(self.section.registry)
        kafka = self.section.kafka
        sink = KafkaSink(self.replication, "copy", self.section, kafka, database="shop", registry=registry)
        self.opened.append(sink)
        return sink

    def other_sink(self, sink: Sink) -> Sink:
        return self.open()

    def raw(self, table: TableSchema) -> list[tuple[int, int, bytes | None, bytes | None]]:
        """Return partition, offset, key and value of all committed records of the topic that is the table's."""
        name, (schema, short) = self.replication, table.name
        topic = self.section.topic.format(name=name, schema=schema, table=short)
        topics = AdminClient({"bootstrap.servers": self.bootstrap}).list_topics(timeout=60).topics
        return [record[1:] for record in read_raw(self.bootstrap, [topic])] if topic in topics else []

    @contextlib.contextmanager
    def fault(self, sink: Sink, number: int) -> Iterator[None]:
        """Let a commit fail, before it is sent, or after the broker has done it."""
        producer = cast("KafkaSink", sink)._ready()[0]
        commit, calls = producer.commit, iter(range(1000))

        def failing(timeout_s: float | None = None) -> None:
            due = next(calls) == number // 2
            if not due or number % 2:
                commit(timeout_s)
            if due:
                raise TailraceError(ErrorKind.TRANSPORT, "the connection was cut")

        producer.commit = failing  # type: ignore[method-assign]
        try:
            yield
        finally:
            producer.commit = commit  # type: ignore[method-assign]

    def test_what_a_dead_applier_left_open_is_settled_at_once(self, sink: Sink) -> None:
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", None)]))
        self.give(sink, TableBatch(ORDERS, upserts=[(2, "b", None)]))
        # It dies with records and positions in an open transaction, which only its time-out would end.
        dead = cast("KafkaSink", sink)
        self.giver.stage(sink)
        dead._produce()
        producer, claims = dead._ready()
        claims.stage(dead._offsets, producer)
        producer.flush()
        other = self.other_sink(sink)
        self.write(other, TableBatch(ORDERS, upserts=[(3, "c", None)]))
        assert self.rows(other, ORDERS) == {(1, "a", None), (3, "c", None)}
        with pytest.raises(TailraceError) as caught:
            sink.flush()
        assert caught.value.kind is ErrorKind.INVARIANT
        sink.rollback()
        assert self.rows(other, ORDERS) == {(1, "a", None), (3, "c", None)}

    def test_who_released_its_partitions_is_not_ended(self, sink: Sink) -> None:
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", None)]))
        sink.release([P0])
        self.giver.forget(sink)
        other = self.other_sink(sink)
        self.write(other, TableBatch(ORDERS, upserts=[(2, "b", None)]))
        # Its other partitions go on, without a new producer.
        before = cast("KafkaSink", sink)._ready()[0]
        self.write(sink, TableBatch(ORDERS, upserts=[(3, "c", None)]), number=1)
        assert cast("KafkaSink", sink)._ready()[0] is before
        assert self.rows(sink, ORDERS) == {(1, "a", None), (2, "b", None), (3, "c", None)}

    def test_a_record_that_is_too_large_is_refused(self, sink: Sink) -> None:
        size = self.section.message_max_bytes
        batch = TableBatch(ORDERS, upserts=[(1, "x" * size, None), (2, "b", None), (3, "y" * (size // 2), None)])
        (rejection,) = sink.apply(self.giver.given(batch, sink.capabilities))
        assert (rejection.index, rejection.error.kind) == (0, ErrorKind.ROW_REJECTED)
        sink.flush()
        assert {row[0] for row in self.rows(sink, ORDERS)} == {2, 3}

    def test_the_positions_can_be_forgotten(self, sink: Sink) -> None:
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", None)]))
        assert len(sink.forget()) == 1
        assert sink.forget() == []
        assert self.other_sink(sink).load_offsets([P0]) == {}


class TestDmsJson(_KafkaSuite):
    more: ClassVar = {
        "include_null_and_empty": True,
        "include_control_details": True,
        "include_table_alter_operations": True,
        "include_transaction_details": True,
        "include_partition_value": True,
        # Two values for keys of more than one column would else be one.
        "partition_include_schema_table": True,
        "message_format": "json-unformatted",
    }

    def documents(self, table: TableSchema) -> list[dict[str, Any]]:
        return [json.loads(value or b"") for _, _, _, value in self.raw(table)]

    def read_history(self, sink: Sink, table: TableSchema) -> list[Seen]:
        told = [d for d in self.documents(table) if "control" not in d]
        found = history(told, table)
        # `history` takes repetitions out: there are none, but for truncates, which come once for each partition.
        assert len(found) == sum(
            (d["metadata"]["schema-name"], d["metadata"]["table-name"]) == table.name for d in told
        )
        return found

    def test_tables_and_their_changes_are_told(self, sink: Sink) -> None:
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", True)]))
        other = self.other_sink(sink)
        self.write(other, TableBatch(ORDERS, upserts=[(2, "b", None)]))
        self.write(other, TableBatch(ORDERS_2, upserts=[(3, True, "c")]))
        told = [d for d in self.documents(ORDERS) if "control" in d]
        operations = [d["metadata"]["operation"] for d in told]
        assert operations == ["create-table", "drop-column", "add-column"]
        assert told[0]["control"] == {
            "table-def": {
                "columns": {
                    "id": {"type": "INT64", "nullable": False},
                    "status": {"type": "STRING", "nullable": True},
                    "paid": {"type": "BOOLEAN", "nullable": True},
                },
                "primary-key": ["id"],
            }
        }
        first = next(d for d in self.documents(ORDERS) if d["metadata"]["operation"] == "insert")
        assert first["metadata"]["partition-key-value"] == "public.orders.1"
        assert first["metadata"]["commit-timestamp"] == "2025-01-01T02:14:36.444453Z"
        assert first["metadata"]["stream-position"] == str(first["metadata"]["commit-sequence"])


class _InOneTopic(_KafkaSuite):
    more: ClassVar = {
        "include_null_and_empty": True,
        "include_control_details": True,
        "topic": "{name}.all",
        "partition_key_type": "schema-table",
        "topic_partitions": 3,
    }

    def read_history(self, sink: Sink, table: TableSchema) -> list[Seen]:
        documents = [json.loads(value or b"") for _, _, _, value in self.raw(table)]
        return history([d for d in documents if "control" not in d], table)


class _Envelopes(_KafkaSuite):
    more: ClassVar = {"message_format": "debezium", "tombstones": True}
    format = Format.JSON

    def read_history(self, sink: Sink, table: TableSchema) -> list[Seen]:
        found: list[Seen] = []
        latest: dict[tuple[int, bytes | None], int] = {}
        for partition, _, key, value in self.raw(table):
            if value is None:
                continue
            decoder = compile_decoder(self.version(table, value), self.format)
            op, before, after = decoder.decode(value)
            row = after if after is not None else before
            values = {} if row is None else dict(zip(decoder.table.column_names, row, strict=True))
            known = {n: v for n, v in values.items() if n in table.column_names and v is not UNCHANGED}
            seq = decoder.facts(value).seq
            # Each once, and in the order of the source.
            assert latest.get((partition, key), 0) < seq
            latest[partition, key] = seq
            found.append(Seen(seq, op, known))
        return found

    def version(self, table: TableSchema, value: bytes) -> TableSchema:
        """Return the version of a table that a value was written by."""
        number = wire.schema_version(value)
        return next((t for t in (ORDERS, ORDERS_2) if (t.name, t.version) == (table.name, number)), table)


class _WithSchema(_Envelopes):
    more: ClassVar = {"message_format": "debezium-with-schema"}
    format = Format.JSON_WITH_SCHEMA


class _Avro(_Envelopes):
    more: ClassVar = {"message_format": "avro"}
    format = Format.AVRO

    def version(self, table: TableSchema, value: bytes) -> TableSchema:
        # The sink's own client has the texts that it has registered.
        registry = self.opened[0]._registry
        assert registry is not None
        text = registry.text(wire.schema_id(value))
        known = (t for t in (ORDERS_2, ORDERS) if t.name == table.name)
        return next((t for t in known if all(f'"{name}"' in text for name in t.column_names)), table)


@pytest.mark.parametrize("form", [_InOneTopic, _Envelopes, _WithSchema, _Avro])
def test_other_forms_tell_the_same(
    form: type[_KafkaSuite], kafka_server: KafkaAddress, replication: str, request: pytest.FixtureRequest
) -> None:
    more = {"registry": {"url": request.getfixturevalue("registry_server").url}} if form is _Avro else {}
    suite = form()
    suite.giver = Giver()
    with contextlib.contextmanager(suite.begin)(kafka_server, replication, **more) as sink:
        suite.test_every_type_holds_its_extremes(sink)
        suite.test_a_table_without_a_key_is_a_multiset(sink)
        suite.test_a_newer_version_adds_and_drops_columns(sink)
        suite.write(sink, TableBatch(ORDERS, sequence=[("t", None, None), ("c", None, (9, "z", None))]))
        assert suite.rows(sink, ORDERS) == {(9, "z", None)}


def test_a_table_without_a_key_has_no_place_in_a_compacted_topic(kafka_server: KafkaAddress, replication: str) -> None:
    from apply.sinks.kafka.target import findings
    from schemas.settings import parse

    address = {"bootstrap.servers": kafka_server.bootstrap}
    target = {"engine": "kafka", "kafka": address, "topic_config": {"cleanup.policy": "compact"}}
    source = {"database": "shop", "user": "u", "tables": ["*.*"]}
    settings = parse({"name": replication, "kafka": address, "source": source, "targets": {"copy": target}})
    long = replace(EVENTS, name=replace_name(EVENTS, "x" * 300), key=(0,))
    codes = [f.code for f in findings(settings, "copy", [EVENTS, long])]
    assert codes == ["own-topic", "no-key", "own-topic", "topic-name"]


RULE: dict[str, Any] = {
    "rule-type": "object-mapping",
    "rule-id": "1",
    "rule-name": "1",
    "object-locator": {"schema-name": ORDERS.name.schema, "table-name": ORDERS.name.table},
    "kafka-target-topic": "elsewhere",
    "mapping-parameters": {
        "partition-key": {"value": "${note}"},
        "exclude-columns": ["note"],
        "attribute-mappings": [{"target-attribute-name": "said", "value": "${note}!"}],
    },
}


def test_rules_of_object_mapping_say_topic_key_and_members(kafka_server: KafkaAddress, replication: str) -> None:
    from apply.sinks.kafka.target import findings, open_reader, open_sink
    from schemas.settings import parse

    address = {"bootstrap.servers": kafka_server.bootstrap}
    topic = f"{replication}.elsewhere"
    source = {"database": "shop", "user": "u", "tables": ["*.*"]}
    column = ORDERS.column_names[1]
    rule = json.loads(json.dumps(RULE | {"kafka-target-topic": topic}).replace("note", column))

    def settings(**more: Any) -> Any:
        target = {"engine": "kafka", "kafka": address, "mappings": {"rules": [rule]}, **more}
        apply = {"before_image": {"field": "old", "columns": "all"}}
        return parse(
            {"name": replication, "kafka": address, "source": source, "targets": {"copy": target}, "apply": apply}
        )

    configured = settings(topic="{name}.copy.{table}")
    assert findings(configured, "copy", [ORDERS]) == []
    sink = open_sink(configured, "copy")
    try:
        sink.load_offsets([P0])
        sink.prepare(ORDERS)
        changes: list[Any] = [
            ("c", None, (1, "a", True)),
            ("u", (1, "a", True), (1, "b", True)),
            ("u", None, (1, None, False)),
        ]
        assert sink.apply(Giver().given(TableBatch(ORDERS, sequence=changes), sink.capabilities)) == []
        sink.flush()
    finally:
        sink.close()
    found = [(key, json.loads(value or b"")) for *_, key, value in read_raw(kafka_server.bootstrap, [topic])]
    key, other = ORDERS.column_names[0], ORDERS.column_names[2]
    # What the rule makes no key of goes by the row's own.
    assert sorted(((k, d["data"], d.get("old")) for k, d in found), key=str) == sorted(
        [
            (b"a", {key: 1, other: True, "said": "a!"}, None),
            (b"b", {key: 1, other: True, "said": "b!"}, {key: 1, other: True}),
            (b"1", {key: 1, other: False, "said": "!"}, {key: 1}),
        ],
        key=str,
    )
    with pytest.raises(TailraceError, match="made by a rule of object mapping"):
        list(open_reader(configured, "copy").rows(ORDERS))
    # In a compacted topic another key would let rows of others go.
    rule["kafka-target-topic"] = f"{topic}.compacted"
    compacted = open_sink(settings(topic_config={"cleanup.policy": "compact"}), "copy")
    try:
        with pytest.raises(TailraceError, match="which a rule of object mapping gives"):
            compacted.prepare(ORDERS)
    finally:
        compacted.close()
    # Envelopes tell a table's own columns.
    with pytest.raises(TailraceError, match="knows no object mapping"):
        settings(message_format="debezium")


def replace_name(table: TableSchema, name: str) -> Any:
    return table.name._replace(table=name)
