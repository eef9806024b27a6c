"""Other shapes than envelopes: what they make of rare changes, and what they refuse before anything is published."""

from __future__ import annotations

import io
import json
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import fastavro
import pytest

from capture.publishing.outbox import TOPICS_MAX, OutboxMessages
from capture.publishing.shapes import SHAPES, Origin, Reshaper
from schemas.changes import UNCHANGED, Row, RowChanges, Transaction
from schemas.codecs import SchemaIds
from schemas.errors import ErrorKind, TailraceError
from schemas.routing import check_routes, outbox_topics, route
from schemas.settings import Settings, parse
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.kit.type_samples import SAMPLES

TEXT = LogicalType(Family.STRING)
NAME = TableName("s", "t")
TABLE = TableSchema(
    NAME,
    (
        Column("id", LogicalType(Family.INT64), "bigint", nullable=False),
        Column("b", TEXT, "text"),
        Column("c", TEXT, "x"),
    ),
    (0,),
)
ORIGIN = Origin("shop", "postgresql", "d")
TXN = Transaction("1", 1, 7, 1_700_000_000_000_000)


NOT_NULL = replace(TABLE, columns=(TABLE.columns[0], replace(TABLE.columns[1], nullable=False)))


def settings(*overrides: dict[str, Any], **topics: Any) -> Settings:
    return parse(
        {
            "name": "shop",
            "kafka": {"bootstrap.servers": "nowhere"},
            "source": {"database": "d", "user": "u", "tables": ["s.*"]},
            "topics": {"overrides": list(overrides), **topics},
        }
    )


def shape(table: TableSchema = TABLE, **override: Any) -> Reshaper:
    way = route(settings({"tables": ["s.*"], **override}), table.name)
    if way.outbox is not None:
        return OutboxMessages(table, way, ORIGIN, lambda _: None)
    return SHAPES[way.shape](table, way, ORIGIN)


def records(made: Reshaper, *changes: tuple[str, Row | None, Row | None]) -> list[Any]:
    run = RowChanges(made.table, TXN, *map(list, zip(*changes, strict=True)))
    block = made.inner.block(snapshot="false", position_lsn=7, ts_us=TXN.commit_ts_us, txid=1, now_us=5_000)
    pairs, _ = made.inner.run(run, block, 100, False)
    return made.records(pairs)


def test_the_last_override_that_matches_decides_setting_by_setting() -> None:
    found = settings(
        {"tables": ["s.*"], "format": "json", "partitions": 3, "config": {"retention.ms": 1, "a": 1}},
        {"tables": ["s.*", "!s.u"], "partitions": 5, "config": {"a": 2}, "topic": "{schema}-{table}"},
        cleanup="compact",
        config={"b": 3},
    )
    t, u = route(found, NAME), route(found, TableName("s", "u"))
    assert (t.format, t.partitions, t.topic, t.tombstones) == ("json", 5, "s-t", True)
    assert t.config == {"retention.ms": 1, "a": 2, "b": 3}
    assert (u.partitions, u.topic, u.config) == (3, "shop.s.u", {"retention.ms": 1, "a": 1, "b": 3})
    assert t.is_applicable


def test_tables_share_a_topic_only_where_it_is_said() -> None:
    names = [NAME, TableName("s", "u")]
    with pytest.raises(TailraceError, match=r"s\.t and s\.u would both be published to all"):
        check_routes(settings({"tables": ["s.*"], "topic": "all"}), names)
    check_routes(settings({"tables": ["s.*"], "topic": "all", "shared": True}), names)
    for words, refused in (({"format": "json"}, True), ({"format": "avro"}, False), ({"cleanup": "delete"}, False)):
        way = {"tables": ["s.*"], "topic": "all", "shared": True, "format": "json", "cleanup": "compact", **words}
        with pytest.raises(TailraceError, match="lose rows to compaction") if refused else nullcontext():
            check_routes(settings(way), names)
    with pytest.raises(TailraceError, match="own topics"):
        check_routes(settings({"tables": ["s.t"], "topic": "{name}.tailrace.x"}), names)


@pytest.mark.parametrize(
    "bad", [{"topic": "a b"}, {"shape": "cloudevent", "format": "avro"}, {"outbox": {}, "key": ["b"]}]
)
def test_overrides_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(TailraceError) as caught:
        settings({"tables": ["s.*"], **bad})
    assert caught.value.kind is ErrorKind.CONFIGURATION


@pytest.mark.parametrize(
    ("override", "table", "words"),
    [
        ({"key": ["nowhere"]}, TABLE, "nowhere"),
        ({"key": ["b"]}, TABLE, "may be null"),
        (
            {"key": ["b"]},
            NOT_NULL,
            "delete",
        ),
        ({"key": ["b"]}, replace(NOT_NULL, full_before=True, engine="mysql"), "delete"),
        ({"shape": "row"}, replace(TABLE, key=()), "tombstone"),
        ({"outbox": {}}, TABLE, "aggregatetype"),
    ],
)
def test_what_a_table_cannot_be_made_of_is_refused_by_name(
    override: dict[str, Any], table: TableSchema, words: str
) -> None:
    with pytest.raises(TailraceError, match=words) as caught:
        shape(table, **override)
    assert (caught.value.kind, caught.value.table) == (ErrorKind.CONFIGURATION, "s.t")
    assert caught.value.remedy


@pytest.mark.parametrize("format_", ["avro", "json", "json-with-schema"])
def test_rows_of_every_type_are_what_envelopes_hold(format_: str) -> None:
    columns = tuple(Column(f"c{i}", sample.type, sample.native) for i, sample in enumerate(SAMPLES))
    table = TableSchema(NAME, (TABLE.columns[0], *columns), (0,))
    made = shape(table, shape="row", format=format_)
    for index in range(max(len(sample.values) for sample in SAMPLES)):
        row = (index, *(sample.values[index % len(sample.values)] for sample in SAMPLES))
        ((_, key, value, _),) = records(made, ("c", None, row))
        assert key == made._key(row)
        body = made.inner.body(row)
        if format_ == "avro":
            schema = fastavro.parse_schema(json.loads(made.wire.value_schema_text or ""))
            read: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
            assert read["id"] == index
            assert value[5:] == body + b"\0"
        elif format_ == "json":
            assert value == body
        else:
            assert json.loads(value)["payload"] == json.loads(body)


def test_a_key_that_changes_and_values_that_are_missing() -> None:
    for format_ in ("json", "json-with-schema", "avro"):
        made = shape(shape="row", format=format_)
        moved = records(made, ("u", (1, UNCHANGED, UNCHANGED), (2, "b", "c")))
        assert [(r.key == made._key((i, "", "")), r.value is None) for i, r in ((1, moved[0]), (2, moved[1]))] == [
            (True, True),
            (True, False),
        ]
    ((_, _, value, _),) = records(shape(shape="row", format="json"), ("u", None, (1, UNCHANGED, None)))
    assert json.loads(value) == {"id": 1, "c": None, "__unavailable": ["b"]}
    assert records(shape(shape="row", deletes="drop"), ("d", (1, UNCHANGED, UNCHANGED), None)) == []


def test_ids_of_a_registry_stand_in_front_of_keys_and_values() -> None:
    for override in ({"shape": "row"}, {"key": ["id"]}):
        made = shape(**override)
        made.identify(SchemaIds(7, 8))
        ((_, key, value, _),) = records(made, ("c", None, (1, "b", "c")))
        assert (key[:5], value[:5]) == (b"\0\0\0\0\7", b"\0\0\0\0\x08")
        assert (made.wire.key_schema_id, made.wire.value_schema_id) == (7, 8)


OUTBOX = TableSchema(
    NAME,
    tuple(Column(name, TEXT, "text") for name in ("id", "aggregatetype", "aggregateid", "type", "payload")),
    (0,),
)


def test_rows_of_an_outbox_are_messages_and_nothing_else_is() -> None:
    made = shape(OUTBOX, outbox={"headers": {"type": "kind"}})
    row = ("1", "or der", "7", "placed", '{"a":1}')
    messages = records(made, ("c", None, row), ("u", None, row), ("d", row, None))
    assert messages == [("outbox.event.or_der", b"7", b'{"a":1}', [("id", b"1"), ("kind", b"placed")])]
    ((_, key, value, headers),) = records(made, ("c", None, ("2", "x", None, None, None)))
    assert (key, value, headers) == (None, b"", [("id", b"2")])
    assert (
        records(shape(OUTBOX, outbox={"tombstones": True}), ("c", None, ("2", "x", "1", None, None)))[0].value is None
    )
    # Another key of a row that is gone by now is no new message, though it is a create.
    assert records(made, ("u", row, ("3", *(UNCHANGED,) * 4))) == []
    assert made.topics == {"outbox.event.or_der", "outbox.event.x"}
    assert outbox_topics(settings({"tables": ["s.t"], "outbox": {}}), ["outbox.event.x", "outbox.event.", "other"]) == [
        "outbox.event.x"
    ]


def test_an_outbox_stops_at_what_it_cannot_publish() -> None:
    made = shape(OUTBOX, outbox={"updates": "stop"})
    row = ("1", "x", "7", "placed", "secret")
    many = [("c", None, (str(i), f"t{i}", "", "", "")) for i in range(TOPICS_MAX + 1)]
    for changes in ([("u", None, row)], [("c", None, ("1", "", "7", "", "secret"))], many):
        with pytest.raises(TailraceError, match="outbox") as caught:
            records(made, *changes)
        assert caught.value.kind is ErrorKind.SOURCE_SCHEMA
        assert "secret" not in str(caught.value)
