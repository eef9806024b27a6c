"""How long texts are compressed at the target."""

from __future__ import annotations

import psycopg
import pytest

from apply.sink import TableBatch
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.integration.postgresql_sink.conftest import OpenSink
from tests.kit.servers import Database

pytestmark = pytest.mark.integration

TEXTS = TableSchema(
    TableName("public", "texts"),
    (
        Column("id", LogicalType(Family.INT64), "bigint", nullable=False),
        Column("text", LogicalType(Family.STRING), "text"),
    ),
    (0,),
)
WAYS = "select id, pg_column_compression(text) from texts order by id"


def test_long_texts_are_compressed_the_cheap_way_unless_somebody_has_chosen(
    open_sink: OpenSink, target_database: Database
) -> None:
    with psycopg.connect(target_database.dsn, autocommit=True) as session:
        known = "select 'lz4' = any (enumvals) from pg_settings where name = 'default_toast_compression'"
        way = "lz4" if session.execute(known).fetchone() == (True,) else "pglz"
        sink = open_sink()
        sink.prepare(TEXTS)
        # Straight into the table, then by way of the staging table.
        assert sink.apply(TableBatch(TEXTS, upserts=[(1, "first " * 2000)], fresh=True)) == []
        assert sink.apply(TableBatch(TEXTS, upserts=[(2, "second " * 2000)])) == []
        sink.flush()
        assert target_database.rows(WAYS) == [(1, way), (2, way)]
        sink.close()
        session.execute(f"alter database {target_database.name} set default_toast_compression = 'pglz'".encode())
        sink = open_sink()
        assert sink.apply(TableBatch(TEXTS, upserts=[(3, "third " * 2000)])) == []
        sink.flush()
    assert target_database.rows(WAYS)[2] == (3, "pglz")
