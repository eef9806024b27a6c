"""The text of tables for Flink SQL and ksqlDB."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from control.stream_ddl import Engine, statements
from schemas.settings import parse
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.kit.type_samples import SAMPLES

TABLE = TableSchema(
    TableName("public", "orders"),
    (
        Column("id", LogicalType(Family.INT64), "bigint", nullable=False),
        Column("total", LogicalType(Family.DECIMAL, precision=12, scale=2), "numeric(12,2)"),
        Column("any", LogicalType(Family.NUMERIC), "numeric"),
        Column("a b", LogicalType(Family.STRING), "text"),
    ),
    (0,),
    full_before=True,
)


def text(engine: Engine, table: TableSchema = TABLE, registry: str | None = None, **override: Any) -> str:
    document: dict[str, Any] = {
        "name": "shop",
        "kafka": {"bootstrap.servers": "kafka:9092"},
        "source": {"database": "d", "user": "u", "tables": ["*.*"]},
        "topics": {"overrides": [{"tables": ["*.*"], **override}]},
    }
    if registry is not None:
        document["registry"] = {"url": registry}
    return statements(engine, parse(document), [table])


def test_flink_reads_envelopes_in_avro() -> None:
    assert (
        text(Engine.FLINK, registry="http://registry:8081")
        == """\
create table `public_orders` (
  `id` BIGINT,
  `total` DECIMAL(12, 2),
  `any` ROW<`scale` INT, `value` BYTES>,
  `a_b` STRING
) WITH (
  'connector' = 'kafka',
  'topic' = 'shop.public.orders',
  'properties.bootstrap.servers' = 'kafka:9092',
  'properties.isolation.level' = 'read_committed',
  'scan.startup.mode' = 'earliest-offset',
  'value.format' = 'debezium-avro-confluent',
  'value.debezium-avro-confluent.url' = 'http://registry:8081'
);
"""
    )


def test_flink_reads_rows_as_a_table_that_changes() -> None:
    found = text(Engine.FLINK, shape="row", format="json", fields=["op", "seq"])
    for words in (
        "'connector' = 'upsert-kafka'",
        "PRIMARY KEY (`id`) NOT ENFORCED",
        "`id` BIGINT NOT NULL",
        "`total` STRING",
        "`a b` STRING",
        "`__op` STRING",
        "`__seq` BIGINT",
        "'key.format' = 'json'",
        "'value.format' = 'json'",
    ):
        assert words in found
    assert "scan.startup.mode" not in found


def test_ksql_reads_envelopes_as_a_stream_and_rows_as_a_table() -> None:
    assert (
        text(Engine.KSQL, format="json", key=["id"])
        == """\
create stream `public_orders` (
  `k` STRUCT<`id` BIGINT> KEY,
  `op` STRING,
  `before` STRUCT<`id` BIGINT, `total` STRING, `any` STRUCT<`scale` INT, `value` BYTES>, `a b` STRING>,
  `after` STRUCT<`id` BIGINT, `total` STRING, `any` STRUCT<`scale` INT, `value` BYTES>, `a b` STRING>,
  `unavailable` ARRAY<STRING>,
  `source` STRUCT<`version` STRING, `connector` STRING, `name` STRING, `ts_ms` BIGINT, `snapshot` STRING, `db` STRING, \
`sequence` STRING, `ts_us` BIGINT, `ts_ns` BIGINT, `schema` STRING, `table` STRING, `txId` BIGINT, `lsn` BIGINT, \
`xmin` BIGINT, `seq` BIGINT, `schema_version` INT>,
  `ts_ms` BIGINT
) WITH (
  KAFKA_TOPIC = 'shop.public.orders', KEY_FORMAT = 'JSON', VALUE_FORMAT = 'JSON'
);
"""
    )
    rows = text(Engine.KSQL, shape="row")
    assert rows.startswith("-- point a schema registry at the topic _schemas")
    assert "create table `public_orders` (\n  `k` STRUCT<`id` BIGINT> PRIMARY KEY,\n  `id` BIGINT," in rows


def test_what_needs_care_is_said() -> None:
    assert "replica identity full" in text(Engine.FLINK, replace(TABLE, full_before=False))
    assert "outbox" in text(Engine.KSQL, outbox={})
    assert "CloudEvents" in text(Engine.KSQL, shape="cloudevent")
    for engine in Engine:
        assert "-- " in text(engine, shape="row", format="json-with-schema")


def test_every_type_has_one_in_both_engines() -> None:
    columns = tuple(Column(f"c{i}", sample.type, sample.native) for i, sample in enumerate(SAMPLES))
    table = TableSchema(TableName("s", "t"), columns, ())
    for engine in Engine:
        for format_ in ("avro", "json"):
            assert text(engine, table, format=format_).count("`c") >= len(columns)
