"""The schemas topic is enough to know every table, version and decoder."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from apply.schema_catalog import Loaded, SchemaCatalog, TopicSchemas
from apply.sink_kinds.relational.preparation import misfits
from apply.sinks.postgresql.catalog import TargetColumn
from schemas.codecs import compile_encoder
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.registry import TableVersion, table_record
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.conformance.sink_suite import EVENTS, ORDERS, ORDERS_2

TOPIC = "shop.public.orders"
Records = list[tuple[bytes | None, bytes | None]]


class Feed:
    """A schemas topic that grows."""

    def __init__(self, *tables: TableSchema, encoding: Format = Format.AVRO) -> None:
        self.encoding = encoding
        self.records: Records = []
        for table in tables:
            self.add(table)

    def add(self, table: TableSchema) -> None:
        encoder = self.encoder(table)
        self.records.append(table_record(TableVersion(table, encoder.key_schema_id, encoder.value_schema_id)))

    def encoder(self, table: TableSchema):  # type: ignore[no-untyped-def]
        return compile_encoder(table, self.encoding, replication="shop", connector="postgresql", database="d")

    def value(self, table: TableSchema, *row: object) -> bytes:
        encoder = self.encoder(table)
        block = encoder.block(snapshot="true", position_lsn=1, ts_us=1, txid=None, now_us=1)
        value: bytes = encoder.read(encoder.body(row), block, 1 << 56)
        return value

    def read(self) -> Records:
        records, self.records = self.records, []
        return records


@pytest.mark.parametrize("encoding", list(Format))
def test_each_value_finds_the_version_that_wrote_it(encoding: Format) -> None:
    feed = Feed(ORDERS, ORDERS_2, EVENTS, encoding=encoding)
    catalog = SchemaCatalog("shop", encoding, feed.read)
    catalog.refresh()
    assert catalog.revision == 3
    catalog.refresh()
    assert catalog.revision == 3
    old, new = feed.value(ORDERS, 1, "a", True), feed.value(ORDERS_2, 1, True, '"schema_version":1,')
    assert len(catalog.marks(TOPIC, [old, new])) == 2
    for value, table, row in ((old, ORDERS, (1, "a", True)), (new, ORDERS_2, (1, True, '"schema_version":1,'))):
        decoder = catalog.decoder(TOPIC, catalog.mark_of(TOPIC, value))
        assert decoder.table == table
        assert decoder.decode_many([value]) == [("r", None, row)]


@pytest.mark.parametrize("encoding", list(Format))
def test_a_version_that_came_meanwhile_is_looked_up(encoding: Format) -> None:
    feed = Feed(ORDERS, encoding=encoding)
    catalog = SchemaCatalog("shop", encoding, feed.read)
    catalog.refresh()
    value = feed.value(ORDERS_2, 1, True, None)
    feed.add(ORDERS_2)
    [mark] = catalog.marks(TOPIC, [value])
    assert catalog.decoder(TOPIC, mark).table == ORDERS_2
    # Whoever asked: the service must learn of it.
    assert catalog.revision == 2
    assert catalog.topics[TOPIC].newest == ORDERS_2
    assert catalog.topics[TOPIC].oldest == ORDERS


def test_an_unknown_schema_is_an_undecodable_record() -> None:
    catalog = SchemaCatalog("shop", Format.AVRO, Feed(ORDERS).read, patience_s=0.0)
    with pytest.raises(TailraceError) as caught:
        catalog.decoder(TOPIC, b"\0\0\0\1")
    assert caught.value.kind is ErrorKind.DECODE


@pytest.mark.parametrize(("encoding", "value"), [(Format.AVRO, b"{}"), (Format.AVRO, b""), (Format.JSON, b"{}")])
def test_a_value_that_bears_no_schema_is_an_undecodable_record(encoding: Format, value: bytes) -> None:
    catalog = SchemaCatalog("shop", encoding, Feed(ORDERS, encoding=encoding).read, patience_s=0.0)
    catalog.refresh()
    with pytest.raises(TailraceError) as caught:
        catalog.marks(TOPIC, [value])
    assert caught.value.kind is ErrorKind.DECODE


def test_a_finished_load_is_known_with_its_offsets() -> None:
    feed = Feed(ORDERS)
    document = {"generation": 2, "version": 1, "offsets": {"0": 5, "1": 0}}
    feed.records.append((orjson.dumps(["loaded", "public", "orders"]), orjson.dumps(document)))
    catalog = SchemaCatalog("shop", Format.AVRO, feed.read)
    catalog.refresh()
    assert catalog.topics[TOPIC].loaded == Loaded(2, {0: 5, 1: 0}, version=1)


@pytest.mark.parametrize("value", [b"", b"[]", b'{"name": 1}', b"\xff"])
def test_a_broken_record_of_the_schemas_topic_is_named(value: bytes) -> None:
    catalog = SchemaCatalog("shop", Format.AVRO, lambda: [(b'{"table":["a","b"],"version":1}', value)])
    with pytest.raises(TailraceError) as caught:
        catalog.refresh()
    assert caught.value.kind is ErrorKind.DECODE


def test_a_target_allows_the_nulls_of_earlier_versions() -> None:
    """They may be on their way, in a table that is made or altered by the newest version."""

    def version(number: int, *columns: Column, life: int = 1) -> TableSchema:
        return TableSchema(
            TableName("public", "t"), (strict["id"], *columns), (0,), version=number, life=life, number=7
        )

    def named(known: TopicSchemas, version: int | None = None) -> str:
        return " ".join(c.name for c in known.wanted(version).columns if not c.nullable)

    strict = {
        name: Column(name, LogicalType(Family.INT32), "integer", nullable=False, number=number)
        for number, name in enumerate(("id", "always", "loose", "retyped", "volatile", "filled", "counted"), 1)
    }
    always, loose, volatile = strict["always"], strict["loose"], replace(strict["volatile"], default="random()")
    filled, counted = replace(strict["filled"], filling="7"), replace(strict["counted"], identity="by default")
    known = TopicSchemas(TableName("public", "t"))
    retyped = strict["retyped"]
    known.take(version(1, always, replace(loose, name="renamed since"), replace(retyped, native="bigint")))
    assert named(known) == "id always renamed since retyped"
    known.take(version(2, always, replace(loose, nullable=True), retyped))
    known.take(version(3, loose, retyped, always, volatile, filled, counted))
    assert named(known) == named(known, 1) == named(known, 3) == "id always filled counted"
    assert known.wanted(1) is known.wanted()
    assert (known.wanted().version, known.newest.columns[1].nullable) == (3, False)
    # A target that somebody has tightened takes all but those rows.
    found = {
        c.name: TargetColumn(c.name, c.native, c.native, not_null=True, has_default=False, generated=False, identity="")
        for c in known.wanted().columns
    }
    assert misfits(known.wanted(), found, lambda *_: None) == []
    assert "loosened" not in str(known.wanted().to_document())
    assert "column 'loose' allows no nulls at the target" in misfits(known.versions[2], found, lambda *_: None)
    # Behind the truncate of another life none is on its way.
    known.take(version(4, loose, volatile, life=2))
    assert (named(known), named(known, 3)) == ("id loose volatile", "id always filled counted")
