"""MariaDB's compressed columns, by log and by full load."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.local.mysql import MysqlAddress
from schemas.changes import Row, RowChanges, SchemaChange
from tests.integration.mysql_source.reading import Reading
from tests.kit.mysql import create_mysql_database, drop_mysql_database

NOISE = bytes((i * i * 7 + i // 3) & 0xFF for i in range(300))
Values = list[tuple[str, object]]
VALUES: Values = [
    ("null", None),
    ("''", ""),
    ("'x'", "x"),
    # The threshold is 100 bytes.
    ("repeat('x', 99)", "x" * 99),
    ("repeat('x', 100)", "x" * 100),
    ("repeat('x', 101)", "x" * 101),
    ("concat('x', repeat('é', 49))", "x" + "é" * 49),
    ("repeat('é', 50)", "é" * 50),
    ("repeat('é€', 60)", "é€" * 60),
    ("repeat('x', 250)", "x" * 250),
]
LARGE: Values = [("repeat('é', 30000)", "é" * 30_000), ("repeat('x', 65534)", "x" * 65_534)]
HUGE: Values = [*LARGE, ("repeat('€', 100000)", "€" * 100_000), ("repeat('abc', 1000000)", "abc" * 1_000_000)]
TYPES: list[tuple[str, Values]] = [
    ("varchar(250) compressed", VALUES),
    ("varchar(63) compressed", [*VALUES[:3], ("repeat('😀', 63)", "😀" * 63)]),
    ("varchar(250) compressed character set latin1", [v for v in VALUES if "€" not in v[0]]),
    ("varchar(254) compressed character set latin1", [("repeat('é', 254)", "é" * 254)]),
    ("varchar(255) compressed character set latin1", [("repeat('é', 255)", "é" * 255)]),
    ("varchar(250) compressed character set ucs2", VALUES),
    ("varchar(9000) compressed character set utf16", [("repeat('😀', 9000)", "😀" * 9000), *VALUES]),
    ("tinytext compressed", VALUES[:8]),
    ("text compressed", VALUES + LARGE),
    ("text compressed character set gbk", [("repeat('中文', 99)", "中文" * 99)]),
    ("mediumtext compressed", VALUES + HUGE),
    ("longtext compressed", VALUES + HUGE),
]
BYTES = [
    ("varbinary(300) compressed", [NOISE, NOISE[:99], NOISE[:100], bytes(300), b"", b"\0"]),
    ("tinyblob compressed", [NOISE[:254], bytes(254), b""]),
    ("blob compressed", [NOISE, bytes(65_534), b"\0"]),
    ("mediumblob compressed", [NOISE * 1000]),
    ("longblob compressed", [NOISE * 1000, bytes(1_000_000)]),
]


@pytest.fixture
def mariadb(mariadb_server: MysqlAddress) -> Iterator[Reading]:
    database = create_mysql_database(mariadb_server)
    found = Reading(database)
    yield found
    found.close()
    drop_mysql_database(database)


def _typed() -> list[tuple[str, Values]]:
    return TYPES + [(native, [(f"x'{v.hex()}'", v) for v in values]) for native, values in BYTES]


@pytest.mark.parametrize(
    ("session", "metadata"),
    [
        ("", "FULL"),
        ("", "MINIMAL"),
        ("column_compression_zlib_wrap = 1", "FULL"),
        ("column_compression_zlib_level = 0", "FULL"),
        ("column_compression_threshold = 0", "FULL"),
        ("column_compression_threshold = 4294967295", "FULL"),
    ],
)
def test_values_arrive_as_they_were_by_full_load_and_by_log(mariadb: Reading, session: str, metadata: str) -> None:
    writer = mariadb.database.connect()
    was = writer.value("select @@global.binlog_row_metadata")
    for number, (native, _) in enumerate(_typed()):
        writer.run(f"create table t{number:02} (id int primary key, v {native} null, w int)")
    if session:
        writer.run(f"set session {session}")
    mariadb.begin()
    writer.run(f"set global binlog_row_metadata = {metadata}")
    try:
        for number, (_, values) in enumerate(_typed()):
            for key, (literal, _) in enumerate(values):
                writer.run(f"insert into t{number:02} values ({key}, {literal}, {key})")
            writer.run(f"delete from t{number:02} where id = 0")
    finally:
        writer.run(f"set global binlog_row_metadata = {was}")
        writer.close()
    logged: dict[str, list[object]] = {}
    for table, op, _, after in mariadb.flat():
        if op == "c":
            assert after is not None
            logged.setdefault(table, []).append(after[1])
    for number, (native, values) in enumerate(_typed()):
        expected = [value for _, value in values]
        assert logged[f"t{number:02}"] == expected, f"{native} in the log"
        (there,) = (table for table in mariadb.tables if table.name.table == f"t{number:02}")
        assert [row[1] for row in sorted(mariadb.rows(there))] == expected[1:], f"{native} in the full load"


def test_a_column_is_compressed_and_is_not_any_more(mariadb: Reading) -> None:
    """It is no other version of the table: only what the log holds is another."""
    writer = mariadb.database.connect()
    writer.run("create table a (id int primary key, v varchar(200), t text not null default 'none')")
    mariadb.begin()
    expected: list[Row] = []
    for number, native in enumerate(("varchar(200)", "varchar(200) compressed", "varchar(200)")):
        text = "text compressed" if "compressed" in native else "text"
        writer.run(f"alter table a modify v {native}, modify t {text} not null default 'none'")
        writer.run(f"insert into a values ({number}, repeat('é', 90), repeat('t', 300)), ({number + 10}, null, '')")
        writer.run(f"insert into a (id) values ({number + 20})")
        writer.run(f"update a set v = 'x' where id = {number}")
        rows: list[Row] = [(number, "é" * 90, "t" * 300), (number + 10, None, ""), (number + 20, None, "none")]
        expected += [*rows, (number, "x", "t" * 300)]
    writer.close()
    changes = mariadb.changes()
    assert not [change for change in changes if isinstance(change, SchemaChange)]
    assert [after for *_, after in mariadb.flat()] == expected


def test_rows_without_a_key_are_told_by_what_is_compressed(mariadb: Reading) -> None:
    writer = mariadb.database.connect()
    writer.run("create table a (v text compressed, b blob compressed)")
    mariadb.begin()
    writer.run("insert into a values (repeat('x', 200), repeat(x'00', 200)), (null, '')")
    writer.run("update a set b = null where b = ''")
    writer.run("delete from a")
    writer.close()
    first: Row = ("x" * 200, bytes(200))
    assert mariadb.flat() == [
        ("a", "c", None, first),
        ("a", "c", None, (None, b"")),
        ("a", "u", (None, b""), (None, None)),
        ("a", "d", first, None),
        ("a", "d", (None, None), None),
    ]


@pytest.mark.parametrize("image", ["MINIMAL", "NOBLOB"])
def test_compressed_values_are_looked_up(mariadb: Reading, image: str) -> None:
    writer = mariadb.database.connect()
    writer.run("create table a (id int primary key, v text compressed not null default 'none', w int)")
    writer.run("insert into a values (1, repeat('é', 200), 1)")
    mariadb.begin()
    writer.run(f"set session binlog_row_image = '{image}'")
    writer.run("update a set id = 2")
    writer.run("insert into a (id) values (3)")
    writer.close()
    (moved, inserted) = (change for change in mariadb.changes() if isinstance(change, RowChanges))
    mariadb.source.complete(moved)
    assert moved.after == [(2, "é" * 200, 1)]
    assert inserted.after == [(3, "none", None)]
