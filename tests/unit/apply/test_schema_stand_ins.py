"""Stand-ins take the place of schemas: what is read of records stays, and what stood on the topic can be had again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Message

from apply.assembly import _brings_schemas
from apply.schema_stand_ins import SchemaStandIns
from schemas.changes import UNCHANGED, RowChanges, Transaction
from schemas.codecs import compile_decoder, compile_encoder, wire
from schemas.format import Format
from schemas.settings import parse
from schemas.table import TableName, TableSchema
from tests.conformance.sink_suite import ORDERS, ORDERS_2

WITH_SCHEMA = Format.JSON_WITH_SCHEMA


def _pairs(table: TableSchema, format_: Format = WITH_SCHEMA) -> list[tuple[bytes | None, bytes | None]]:
    """Return records of changes of every kind: a whole row, a part of one, a delete with its tombstone."""
    encoder = compile_encoder(table, format_, replication="shop", connector="postgresql", database="d")
    block = encoder.block(snapshot="false", position_lsn=1, ts_us=2, txid=3, now_us=4)
    text = 'a "payload":{"op":"u" é'
    whole = (1, None, text) if table is ORDERS_2 else (1, text, None)
    changes = RowChanges(
        table,
        Transaction("3", 3, 5, 6),
        ["c", "u", "d"],
        [None, None, (1, UNCHANGED, UNCHANGED)],
        [whole, (1, UNCHANGED, "x" if table is ORDERS_2 else True), None],
    )
    return [*encoder.records(changes, block, 7, tombstones=True)[0]]


def _messages(values: list[bytes | None], topic: str = "shop.public.orders") -> list[Message]:
    return [Message(topic=topic, partition=0, offset=n, value=value) for n, value in enumerate(values)]


def _shortened(stand_ins: SchemaStandIns, values: list[bytes | None], topic: str = "shop.public.orders") -> list[bytes]:
    messages = _messages(values, topic)
    stand_ins.shorten(messages)
    return [message.value() for message in messages]  # type: ignore[misc]


def test_what_is_read_of_a_record_is_what_was_read_with_its_schema() -> None:
    stand_ins, decoder = SchemaStandIns(), compile_decoder(ORDERS, WITH_SCHEMA)
    values = [value for _, value in _pairs(ORDERS) if value is not None]
    short = _shortened(stand_ins, list(values))
    assert all(len(one) < len(value) / 2 for one, value in zip(short, values, strict=True))
    assert len(short) == 3
    assert decoder.decode_many(short) == decoder.decode_many(values)
    assert [*map(decoder.decode, short)] == [*map(decoder.decode, values)]
    assert decoder.facts_many(short) == decoder.facts_many(values)
    assert {*map(wire.schema_version, short)} == {ORDERS.version}
    assert [*map(stand_ins.whole, short)] == values


def test_each_schema_has_a_stand_in_of_its_own() -> None:
    """Versions of a table stand beside each other for a while, tables in other topics for ever."""
    stand_ins = SchemaStandIns()
    orders = replace(ORDERS, name=TableName("public", "other"))
    tables = [ORDERS, ORDERS_2, orders, ORDERS, ORDERS_2, orders]
    values = [_pairs(table)[0][1] for table in tables]
    short = [_shortened(stand_ins, [value], str(t.name))[0] for t, value in zip(tables, values, strict=True)]
    mixed = _shortened(stand_ins, values)
    assert short == mixed
    assert len({value.partition(b'"payload"')[0] for value in short}) == 3
    assert [*map(stand_ins.whole, mixed)] == values


def test_each_schema_is_in_memory_once() -> None:
    stand_ins = SchemaStandIns()
    values = [_pairs(table)[0][1] for table in (ORDERS, ORDERS_2, ORDERS)]
    for topic in ("one", "other"):
        _shortened(stand_ins, values, topic)
    heads = [head for head, _ in (stand_ins._last, *stand_ins._latest.values(), *stand_ins._pairs.values())]
    assert len({*map(id, heads), *map(id, stand_ins._pairs), *map(id, stand_ins._heads.values())}) == 2


def test_what_brings_no_schema_of_an_envelope_stays_as_it_is() -> None:
    stand_ins = SchemaStandIns()
    key, value = _pairs(ORDERS)[0]
    assert key is not None
    assert value is not None
    mark = b'{"schema":{"type":"struct"},"payload":{"status":"END","id":"1"}}'
    plain = [one for format_ in (Format.JSON, Format.AVRO) for _, one in _pairs(ORDERS, format_)]
    others = [None, b"", b"noise", key, value[:200], mark, *plain]
    assert _shortened(stand_ins, [value, *others, value])[1:-1] == others
    assert [*map(stand_ins.whole, others)] == others


@pytest.mark.parametrize(
    ("topics", "brings"),
    [
        ({}, False),
        ({"format": "json"}, False),
        ({"format": "json-with-schema"}, True),
        ({"overrides": [{"tables": ["public.orders"], "partitions": 1}]}, False),
        ({"overrides": [{"tables": ["public.orders"], "format": "json-with-schema"}]}, True),
    ],
)
def test_they_are_looked_for_where_some_table_has_them(topics: dict[str, Any], brings: bool) -> None:
    document = {
        "name": "shop",
        "kafka": {"bootstrap.servers": "nowhere"},
        "source": {"database": "shop", "user": "nobody", "tables": ["public.*"]},
    }
    assert _brings_schemas(parse({**document, "topics": topics})) is brings


def test_a_record_that_was_cut_behind_its_schema_is_no_less_broken() -> None:
    stand_ins = SchemaStandIns()
    value = _pairs(ORDERS)[0][1]
    assert value is not None
    cut = value[:-9]
    (short,) = _shortened(stand_ins, [cut])
    assert len(short) < len(cut)
    assert stand_ins.whole(short) == cut
    with pytest.raises(Exception, match="cannot be read"):
        compile_decoder(ORDERS, WITH_SCHEMA).decode(short)


def test_schemas_beyond_a_bound_are_not_remembered() -> None:
    values = [_pairs(table)[0][1] for table in (ORDERS, ORDERS_2)]
    first, second = values
    assert first is not None
    stand_ins = SchemaStandIns(bytes_max=len(first))
    for _ in range(2):
        short = _shortened(stand_ins, [first, second])
        assert len(short[0]) < len(first)
        assert short[1] == second
