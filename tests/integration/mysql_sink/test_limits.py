"""Limits that a server sets for what sessions do are for others; what it forbids while appliers run is heeded."""

from __future__ import annotations

import time

import pymysql
import pytest

from apply.sink import TableBatch, TopicPartition
from apply.sinks.mysql.connection import Link
from apply.sinks.mysql.findings import findings
from apply.sinks.mysql.memory_load import MemoryConnection
from apply.sinks.mysql.sink import MysqlSink
from schemas.changes import Row
from schemas.endpoints.mysql import MysqlTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.integration.mysql_sink.conftest import OpenSink
from tests.kit.mysql import MysqlDatabase
from tests.kit.refusals import refused


@pytest.mark.parametrize("database", ["strict"], indirect=True)
def test_what_takes_long_is_not_ended(database: MysqlDatabase) -> None:
    """A load, a merge or an index was ended again and again."""
    database.execute("create table a (id int primary key)")
    link = Link(MysqlTarget.model_validate(database.target_settings))
    link.begin()
    link.run(f"insert into {database.name}.a select 1 from (select sleep(2)) s")
    time.sleep(2)
    link.commit()
    link.discard()
    assert database.rows("select id from a") == [["1"]]


@pytest.mark.parametrize("database", ["mariadb", "mysql"], indirect=True)
@pytest.mark.parametrize("fresh", [True, False])
def test_rows_are_inserted_once_the_server_loads_none_any_more(
    sink: MysqlSink, database: MysqlDatabase, fresh: bool
) -> None:
    """It may be switched off while appliers run, and on again."""
    key = Column("id", LogicalType(Family.INT64), "bigint", nullable=False)
    table = TableSchema(TableName("public", "a"), (key, Column("v", LogicalType(Family.STRING), "text")), (0,))
    sink.prepare(table)

    def write(first: int) -> None:
        rows = [(n, "é'\\\n") for n in range(first, first + 1000)]
        assert sink.apply(TableBatch(table, upserts=rows, fresh=fresh)) == []
        sink.flush()

    write(0)
    try:
        database.execute("set global local_infile = 0")
        with refused(ErrorKind.TARGET_CONNECTION, "local_infile"):
            write(1000)
        sink.rollback()
        write(1000)
    finally:
        database.execute("set global local_infile = 1")
    write(2000)
    assert database.rows("select count(*), count(distinct v), min(hex(v)) from a") == [["3000", "1", "C3A9275C0A"]]


@pytest.mark.parametrize("database", ["mariadb", "mysql"], indirect=True)
@pytest.mark.parametrize("code", [1047, 1148])
def test_rows_are_inserted_where_a_proxy_takes_no_loads(
    sink: MysqlSink, database: MysqlDatabase, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The server behind it says that it does: each session tried one, and was refused."""
    key = Column("id", LogicalType(Family.INT64), "bigint", nullable=False)
    table = TableSchema(TableName("public", "a"), (key, Column("v", LogicalType(Family.STRING), "text")), (0,))
    sink.prepare(table)

    def refuse(self: object, statement: str, pieces: object) -> int:
        raise pymysql.OperationalError(code, "")

    monkeypatch.setattr(MemoryConnection, "load", refuse)
    batch = TableBatch(table, upserts=[(1, "one"), (2, "two")])
    with pytest.raises(TailraceError) as caught:
        sink.apply(batch)
    assert caught.value.kind is ErrorKind.TARGET_CONNECTION
    for _ in range(2):
        sink.rollback()
        assert sink.apply(batch) == []
    sink.flush()
    assert database.rows("select id, v from a order by id") == [["1", "one"], ["2", "two"]]


@pytest.mark.parametrize("database", ["mariadb", "mysql"], indirect=True)
def test_a_load_goes_in_packets_that_the_server_takes(sink: MysqlSink, database: MysqlDatabase) -> None:
    """A packet as long as `max_allowed_packet` ended the session."""
    key = Column("id", LogicalType(Family.INT64), "bigint", nullable=False)
    table = TableSchema(TableName("public", "a"), (key, Column("v", LogicalType(Family.STRING), "text")), (0,))
    (before,) = database.rows("select @@global.max_allowed_packet")[0]
    try:
        database.execute("set global max_allowed_packet = 1048576")
        sink.prepare(table)
        for fresh in (True, False):
            rows = [(n, "x" * 1000) for n in range(3000)]
            assert sink.apply(TableBatch(table, upserts=rows, fresh=fresh)) == []
            sink.flush()
    finally:
        database.execute(f"set global max_allowed_packet = {before}")
    assert database.rows("select count(*), sum(length(v)) from a") == [["3000", "3000000"]]


@pytest.mark.parametrize("database", ["mariadb", "mysql"], indirect=True)
def test_moments_beyond_a_timestamp_are_refused(sink: MysqlSink, database: MysqlDatabase) -> None:
    """What `plan` says of such columns (`foreign.losses`)."""
    columns = (
        Column("id", LogicalType(Family.INT64), "bigint", nullable=False),
        Column("at", LogicalType(Family.TIMESTAMPTZ), "timestamp"),
    )
    table = TableSchema(TableName("public", "a"), columns, (0,), engine="mysql")
    target = MysqlTarget.model_validate(database.target_settings)
    (note,) = [f.message for f in findings("shop", "replica", target, [table]) if f.code == "other-engine"]
    assert note == "at: timestamp becomes timestamp; moments after 2038-01-19 03:14:07 UTC are refused"
    sink.prepare(table)
    last = (2**31 - 1) * 1_000_000
    refused = sink.apply(TableBatch(table, upserts=[(1, last), (2, last + 1_000_000)]))
    assert [(r.index, r.error.kind) for r in refused] == [(1, ErrorKind.ROW_REJECTED)]
    sink.flush()
    assert database.rows("select id, at from a") == [["1", "2038-01-19 03:14:07"]]


@pytest.mark.parametrize("database", ["mariadb", "mysql"], indirect=True)
def test_tables_have_their_format_whatever_the_servers_is(database: MysqlDatabase, open_sink: OpenSink) -> None:
    """In another one neither our own tables could be made nor one with a text in its key (1709)."""
    text = Column("name", LogicalType(Family.STRING), "text", nullable=False)
    table = TableSchema(TableName("public", "named"), (text, Column("v", LogicalType(Family.INT64), "bigint")), (0,))
    database.execute("set global innodb_default_row_format = compact")
    try:
        sink = open_sink()
        sink.load_offsets([TopicPartition("shop.public.named", 0)])
        sink.prepare(table)
        assert sink.apply(TableBatch(table, upserts=[("x" * 768, 1), ("y", 2)])) == []
        sink.flush()
    finally:
        database.execute("set global innodb_default_row_format = dynamic")
    assert database.rows("select length(name), v from named order by v") == [["768", "1"], ["1", "2"]]


@pytest.mark.parametrize("database", ["mariadb", "mysql"], indirect=True)
def test_a_row_without_a_key_that_is_longer_than_a_statement_is_refused_alone(
    sink: MysqlSink, database: MysqlDatabase
) -> None:
    """It goes by a statement that holds it: the server ended the session, again and again."""
    columns = (Column("id", LogicalType(Family.INT64), "bigint"), Column("v", LogicalType(Family.STRING), "text"))
    table = TableSchema(TableName("public", "bag"), columns, ())
    sink.prepare(table)
    database.execute("insert into bag values (1, repeat('x', 1500000)), (2, 'y')")
    (before,) = database.rows("select @@global.max_allowed_packet")[0]
    sink._link.discard()
    try:
        database.execute("set global max_allowed_packet = 1048576")
        gone: list[tuple[str, Row | None, Row | None]] = [("d", (1, "x" * 1_500_000), None), ("d", (2, "y"), None)]
        refused = sink.apply(TableBatch(table, sequence=gone))
        assert [(r.index, r.error.kind) for r in refused] == [(0, ErrorKind.ROW_REJECTED)]
        sink.flush()
    finally:
        database.execute(f"set global max_allowed_packet = {before}")
    assert database.rows("select id from bag") == [["1"]]
