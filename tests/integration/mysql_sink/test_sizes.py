"""What is too much for a server is said before anything runs, and just that."""

from __future__ import annotations

from dataclasses import replace

import pymysql
import pytest

from apply.sink import TableBatch
from apply.sinks.mysql import sizes
from apply.sinks.mysql.ddl import create_table
from apply.sinks.mysql.errors import code_of
from apply.sinks.mysql.findings import findings
from apply.sinks.mysql.foreign import Server, excesses, translated
from apply.sinks.mysql.names import qualified
from apply.sinks.mysql.sink import MysqlSink
from schemas.changes import UNCHANGED
from schemas.endpoints.mysql import MysqlTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Severity
from schemas.table import Column, Index, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.kit.mysql import MysqlDatabase

INT, TEXT = LogicalType(Family.INT64), LogicalType(Family.STRING)
CHAR = LogicalType(Family.STRING, length=255)
LATIN1 = "char(255) character set latin1"


def _table(name: str, *columns: tuple[LogicalType, str], keys: int = 1, engine: str = "postgresql") -> TableSchema:
    made = (Column(f"c{n}", kind, native, nullable=n >= keys) for n, (kind, native) in enumerate(columns))
    return TableSchema(TableName("public", name), tuple(made), tuple(range(keys)), engine=engine)


UNIQUE = Index("pair", unique=True, definition="using btree (c0, c1)")
FIVE = Index("five", unique=False, definition="using btree (c1, c2, c3, c4, c5)")
KEY = (INT, "bigint")
TABLES = (
    _table("wide", KEY, *[(TEXT, "text")] * 250),
    _table("many", *[KEY] * 1018),
    _table("parts", *[KEY] * 17, keys=17),
    _table("n" * 65, KEY),
    _table("enums", KEY, *[(LogicalType(Family.ENUM), "public.mood")] * 40),
    _table("key", (TEXT, "text"), (LogicalType(Family.UUID), "uuid"), keys=2),
    _table("row", KEY, *[(CHAR, LATIN1)] * 70, engine="mysql"),
    _table("chars", *[(CHAR, LATIN1)] * 4, keys=4, engine="mysql"),
    replace(_table("indexed", KEY, *[(TEXT, "text")] * 5), indexes=(UNIQUE, FIVE)),
)
REFUSED = {True: {"many", "n" * 65}, False: {"wide", "many", "parts", "n" * 65}}
"""By whether it is MariaDB."""


@pytest.mark.parametrize("database", ["mariadb", "mysql"], indirect=True)
def test_tables_that_a_server_does_not_take_are_named_by_plan(sink: MysqlSink, database: MysqlDatabase) -> None:
    """`plan` said nothing, and the sink that the target had answered 1118: a row was to be corrected."""
    target = MysqlTarget.model_validate(database.target_settings)
    found: dict[str, list[str]] = {}
    for finding in findings("shop", "replica", target, TABLES):
        if finding.severity is Severity.BLOCKS:
            assert finding.table is not None
            assert "by a mapping rule" in str(finding.remedy)
            found.setdefault(finding.table.table, []).append(finding.message)
    assert found.keys() == REFUSED[database.is_mariadb]
    for table in TABLES:
        said = found.get(table.name.table)
        if said is None:
            sink.prepare(table)
            sink.complete_load(table)
            sink.flush()
            continue
        with pytest.raises(TailraceError) as caught:
            sink.prepare(table)
        assert (caught.value.kind, caught.value.table) == (ErrorKind.TARGET_SCHEMA, str(table.name))
        assert caught.value.message == "; ".join(said)
        assert "by a mapping rule" in str(caught.value.remedy)
        sink.rollback()
    names = "select distinct index_name from information_schema.statistics where table_name = 'indexed'"
    assert {name for (name,) in database.rows(f"{names} and table_schema = database()")} == {"PRIMARY", "pair", "five"}


@pytest.mark.parametrize("database", ["mysql"], indirect=True)
def test_a_server_that_is_not_strict_takes_tables_whose_rows_may_be_too_long(
    sink: MysqlSink, database: MysqlDatabase
) -> None:
    wide = TABLES[0]
    database.execute("set global innodb_strict_mode = off")
    try:
        found = findings("shop", "replica", MysqlTarget.model_validate(database.target_settings), [wide])
        assert [f.severity for f in found if f.code == "target-limits"] == [Severity.WARNS]
        sink.prepare(wide)
        rows = [(1, *["short"] * 250), (2, *["x" * 40] * 250)]
        assert [(r.index, r.error.kind) for r in sink.apply(TableBatch(wide, upserts=rows))] == [
            (1, ErrorKind.ROW_REJECTED)
        ]
        sink.flush()
    finally:
        database.execute("set global innodb_strict_mode = on")
    assert database.rows("select c0, c250 from wide") == [["1", "short"]]


@pytest.mark.parametrize("database", ["mariadb", "mysql"], indirect=True)
def test_a_column_that_is_one_too_many_says_so(sink: MysqlSink, database: MysqlDatabase) -> None:
    columns = [KEY, *[(LogicalType(Family.BOOLEAN), "boolean")] * 1016]
    sink.prepare(_table("grown", *columns))
    later = replace(_table("grown", *columns, KEY), version=2)
    with pytest.raises(TailraceError, match="has 1018 columns, and the target takes 1015") as caught:
        sink.prepare(later)
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA


@pytest.mark.parametrize("database", ["mariadb", "mysql"], indirect=True)
@pytest.mark.parametrize(
    "natives",
    [
        ("longtext",),
        ("varchar(9)",),
        ("varchar(63)", "varchar(64)"),
        ("varbinary(200)", "char(10)", "binary(50)"),
        ("varchar(500)", "text", "tinytext", "mediumblob"),
        ("decimal(65,30)", "decimal(7,3)"),
        ("datetime(6)", "time(3)", "timestamp(1)", "double", "bigint"),
        ("enum('a','b)')", "varchar(24)", "set('a','b','c','d','e','f','g','h','i')", "bit(9)"),
    ],
)
def test_the_longest_row_is_known_to_the_column(
    sink: MysqlSink, database: MysqlDatabase, natives: tuple[str, ...]
) -> None:
    """As it is staged: a table that is made, and of which no change could be written, is no help."""
    link, name = sink._definitions.link, qualified(TableName(database.name, "longest"))

    def types(count: int) -> list[str]:
        return [natives[n % len(natives)] for n in range(count)]

    def make(count: int) -> None:
        columns = "".join(f", c{n} {native} null" for n, native in enumerate(types(count)))
        link.run(
            f"create temporary table {name} (part bigint not null, place bigint not null{columns}, "
            "primary key (part, place)) engine = InnoDB default character set utf8mb4"
        )

    fits, too_many = 1, 1016
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        is_too_long = min(sizes.room(types(middle), is_mariadb=database.is_mariadb)) < 0
        fits, too_many = (fits, middle) if is_too_long else (middle, too_many)
    make(fits)
    link.run(f"drop temporary table {name}")
    with pytest.raises(pymysql.Error) as caught:
        make(too_many)
    assert code_of(caught.value) in (1005, 1117, 1118)


@pytest.mark.parametrize("database", ["mariadb", "mysql"], indirect=True)
def test_the_longest_key_is_known_to_the_byte(sink: MysqlSink, database: MysqlDatabase) -> None:
    server = Server(database.is_mariadb, (99,))
    name = qualified(TableName(database.name, "longest"))
    link = sink._definitions.link
    for length, is_refused in ((751, False), (752, True)):
        natives = (f"varchar({length})", "binary(36)", "datetime(6)", "decimal(20,4)", "bigint", "date")
        columns = tuple(Column(f"c{n}", TEXT, native, nullable=False) for n, native in enumerate(natives))
        table = TableSchema(TableName("public", "a"), columns, tuple(range(len(natives))))
        assert bool(excesses(table, server)) is is_refused
        if is_refused:
            with pytest.raises(pymysql.Error) as caught:
                link.run(create_table(table, name, server.collation))
            assert code_of(caught.value) == 1071
        else:
            link.run(create_table(table, name, server.collation))
            link.run(f"drop table {name}")


def test_many_short_columns_are_staged_as_they_are(sink: MysqlSink, database: MysqlDatabase) -> None:
    """Each was staged as a long text: the staging table was too long for a row, and no change could be written."""
    short = (LogicalType(Family.STRING, length=2), "character varying(2)")
    table = _table("short", KEY, *[short] * 400)
    sink.prepare(table)
    rows = [(n, *["é" * (3 if n == 4 else 2)] * 400) for n in range(5)]
    for fresh in (True, False):
        refused = sink.apply(TableBatch(table, upserts=rows, fresh=fresh))
        assert [(r.index, r.error.kind) for r in refused] == [(4, ErrorKind.ROW_REJECTED)]
        sink.flush()
    changed = [(0, "z", *[UNCHANGED] * 399)]
    assert sink.apply(TableBatch(table, updates=changed, deletes=[(3,)])) == []
    sink.flush()
    assert database.rows("select c0, c1, c400 from short order by 1") == [
        ["0", "z", "éé"],
        ["1", "éé", "éé"],
        ["2", "éé", "éé"],
    ]


def test_columns_are_translated_as_they_were_where_they_fit() -> None:
    table = _table("a", KEY, *[(LogicalType(Family.STRING, length=100), "character varying(100)")] * 100)
    for server in (Server(True, (11, 4)), Server(False, (9, 7))):
        assert {c.native for c in translated(table, server).columns} == {"bigint", "varchar(100)"}
