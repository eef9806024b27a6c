"""Servers that take no tables without a key, as managed ones do, and such as make keys by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from apply.sink import TableBatch, TopicPartition
from apply.sinks.mysql.findings import findings
from apply.sinks.mysql.sink import MysqlSink
from deploy.local.mysql import MysqlAddress, MysqlServer
from schemas.changes import Row
from schemas.endpoints.mysql import MysqlTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Severity
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.integration.mysql_sink.test_writes import INT, P0, table, write
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database

DEMANDS = {"mysql": "sql_require_primary_key", "11.4": "innodb_force_primary_key"}
SHORT = LogicalType(Family.STRING, length=3)
LOG = TableSchema(
    TableName("public", "log"), (Column("word", SHORT, "varchar(3)"), Column("n", INT, "bigint")), (), full_before=True
)
KEYED = replace(
    LOG, columns=(LOG.columns[0], replace(LOG.columns[1], nullable=False)), key=(1,), version=2, full_before=False
)


@pytest.fixture(scope="module", params=["mysql", "11.4"])
def demanding_server(request: pytest.FixtureRequest, servers_directory: Path) -> Iterator[MysqlAddress]:
    series = request.param
    with MysqlServer(servers_directory / f"demanding-{series}", series=series) as server:
        MysqlDatabase(server.address, "mysql", is_mariadb=series != "mysql").execute(
            f"set global {DEMANDS[series]} = 1, global sql_notes = 0, global sql_select_limit = 1"
        )
        yield server.address


@pytest.fixture
def database(demanding_server: MysqlAddress) -> Iterator[MysqlDatabase]:
    """An empty database on such a server."""
    found = create_mysql_database(demanding_server)
    yield found
    drop_mysql_database(found)


def _findings(database: MysqlDatabase, *tables: TableSchema) -> list[tuple[str, TableName | None]]:
    target = MysqlTarget.model_validate(database.target_settings)
    found = findings("shop", "replica", target, tables)
    return [(f.code, f.table) for f in found if f.severity is Severity.BLOCKS]


def test_a_table_without_a_key_waits_and_others_do_not(sink: MysqlSink, database: MysqlDatabase) -> None:
    """A default that is refused is told from others, too."""
    long = "'abcdef'::character varying"
    keyed = table(
        "keyed",
        Column("k", INT, "bigint", nullable=False),
        Column("cut", SHORT, "character varying(3)", default=long),
        Column("ten", INT, "bigint", default="10"),
    )
    assert _findings(database, keyed, LOG) == [("target-key", LOG.name)]
    sink.prepare(keyed)
    sink.load_offsets([P0])
    rows = [(n, "abc", n) for n in range(600)]
    for fresh in (True, False):
        assert write(sink, TableBatch(keyed, upserts=rows, fresh=fresh)) == []
    assert write(sink, TableBatch(keyed, deletes=[(n,) for n in range(598)])) == []
    database.execute("insert into keyed (k) values (1000)")
    assert database.rows("select * from keyed order by k") == [
        *(["598", "abc", "598"], ["599", "abc", "599"], ["1000", None, "10"]),
    ]
    with pytest.raises(TailraceError) as caught:
        sink.prepare(LOG)
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA
    assert "define-primary-key" in str(caught.value.remedy)
    assert write(sink, TableBatch(keyed, upserts=[(1, "x", 1)])) == []


def test_what_a_server_does_not_tell_of_by_itself_is_not_bent(sink: MysqlSink, database: MysqlDatabase) -> None:
    """The server rounds with a note, and its sessions begin without notes, and with one row of each query."""
    exact = table(
        "exact", Column("id", INT, "bigint", nullable=False), Column("v", LogicalType(Family.NUMERIC), "numeric")
    )
    sink.prepare(exact)
    places = [TopicPartition("shop.public.exact", n) for n in range(4)]
    sink.load_offsets(places)
    rows = [(n, Decimal("0.5") if n != 7 else Decimal("15E-31")) for n in range(600)]
    for fresh in (True, False):
        assert write(sink, TableBatch(exact, upserts=rows, fresh=fresh)) == [("upserts", 7, ErrorKind.ROW_REJECTED)]
    sink.stage_offsets({place: 5 + place.partition for place in places})
    sink.flush()
    assert sink.load_offsets(places) == {place: 5 + place.partition for place in places}
    assert database.rows("select count(*), min(v), max(v) from exact") == [["599", f"0.5{'0' * 29}", f"0.5{'0' * 29}"]]


def test_a_key_that_the_server_makes_is_in_nobodys_way(sink: MysqlSink, database: MysqlDatabase) -> None:
    if database.is_mariadb:
        pytest.skip("MariaDB makes none")
    database.execute("set global sql_generate_invisible_primary_key = 1")
    try:
        assert _findings(database, LOG) == []
        sink.prepare(LOG)
        sink.load_offsets([P0])
        rows: list[Row] = [("a", 1), ("a", 1), ("b", None), ("c", 3)]
        changes: list[tuple[str, Row | None, Row | None]] = [("c", None, row) for row in rows]
        assert write(sink, TableBatch(LOG, sequence=changes, fresh=True)) == []
        assert write(sink, TableBatch(LOG, sequence=[("d", ("a", 1), None), ("u", ("b", None), ("b", 2))])) == []
        assert database.rows("select word, n from log order by n") == [["a", "1"], ["b", "2"], ["c", "3"]]
        assert _findings(database, LOG) == []
        # The source gives it a key.
        sink.prepare(KEYED)
        assert write(sink, TableBatch(KEYED, upserts=[("x", 1), ("y", 2)], deletes=[(3,)])) == []
        assert database.rows("select * from log order by n") == [["x", "1"], ["y", "2"]]
        assert database.rows("show columns from log like 'my_row_id'") == []
    finally:
        database.execute("set global sql_generate_invisible_primary_key = 0")
