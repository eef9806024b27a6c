"""What `plan` says is lost between engines: each of it, in its words, and nothing of what is kept."""

from __future__ import annotations

import pytest

from apply.sinks.mysql import foreign as to_mysql
from apply.sinks.mysql.foreign import Server
from apply.sinks.postgresql import foreign as to_postgresql
from schemas.table import Column, ForeignKey, GeneratedColumn, Index, TableName, TableSchema
from schemas.types import Family, LogicalType

NAME = TableName("s", "t")
MYSQL, MARIADB = Server(False, (9, 7)), Server(True, (11, 4))
INFINITE = "infinities, and years before 1 and after 9999, are refused"


def _table(engine: str, family: Family, native: str, **more: object) -> TableSchema:
    kind = LogicalType(family, precision=more.pop("precision", None), scale=more.pop("scale", None))  # type: ignore[arg-type]
    column = Column("c", kind, native, default=more.pop("default", None), identity=str(more.pop("identity", "")))  # type: ignore[arg-type]
    return TableSchema(NAME, (column,), (), engine=engine, **more)  # type: ignore[arg-type]


TO_MYSQL = [
    (Family.NUMERIC, "numeric", "becomes decimal(65,30); values of more than 35 digits before the point or 30 behind"),
    (Family.FLOAT64, "double precision", "becomes double; NaN and infinities are refused"),
    (Family.FLOAT32, "real", "becomes float; NaN and infinities are refused"),
    (Family.DATE, "date", f"becomes date; {INFINITE}"),
    (Family.TIMESTAMP, "timestamp", f"becomes datetime(6); {INFINITE}"),
    (Family.TIMESTAMPTZ, "timestamptz", f"becomes datetime(6); in UTC, without a zone; {INFINITE}"),
    (Family.TIMETZ, "timetz", "becomes varchar(24); its text"),
    (Family.INTERVAL, "interval", "becomes varchar(100); its text in ISO 8601"),
    (Family.TEXT, "integer[]", "becomes json; lower bounds of arrays are lost"),
    (Family.TEXT, "int4range", "becomes longtext; its text in the source's notation"),
    (Family.JSON, "jsonb", "becomes json; as the server prints it: names sorted, each once"),
    (Family.XML, "xml", "becomes longtext; its text, not checked any more"),
    (Family.ENUM, "s.mood", "becomes varchar(63); labels are not checked any more, and sort as text"),
    (Family.INT64, "bigint", ""),
    (Family.BOOLEAN, "boolean", ""),
    (Family.UUID, "uuid", ""),
    (Family.BYTES, "bytea", ""),
]


@pytest.mark.parametrize(("family", "native", "said"), TO_MYSQL)
def test_types_of_postgresql_at_mysql(family: Family, native: str, said: str) -> None:
    found = to_mysql.losses(_table("postgresql", family, native), MYSQL)
    assert [text.startswith(f"c: {native} {said}") for text in found] == ([True] if said else [])


TO_POSTGRESQL = [
    (Family.UINT32, "int unsigned", "becomes bigint; wider, so that it holds all unsigned values"),
    (Family.UINT64, "bigint unsigned", "becomes numeric(20,0); wider, so that it holds all unsigned values"),
    (Family.ENUM, "enum('a')", "becomes text; labels are not checked any more, and sort as text"),
    (Family.STRING, "set('a')", "becomes text; labels joined by commas, not checked any more"),
    (Family.INTERVAL, "time", "becomes interval; a span of time"),
    (Family.JSON, "json", "becomes json; the text as the source prints it"),
    (Family.BYTES, "geometry", "becomes bytea; the bytes as the source stores them"),
    (Family.BYTES, "varbinary(9)", ""),
    (Family.STRING, "text", ""),
    (Family.INT32, "int", ""),
    (Family.TIMESTAMP, "datetime(6)", ""),
]


@pytest.mark.parametrize(("family", "native", "said"), TO_POSTGRESQL)
def test_types_of_mysql_at_postgresql(family: Family, native: str, said: str) -> None:
    found = to_postgresql.losses(_table("mysql", family, native))
    assert [text.startswith(f"c: {native} {said}") for text in found] == ([True] if said else [])


@pytest.mark.parametrize(
    ("family", "native", "default", "is_kept"),
    [
        (Family.INT32, "int", "5", True),
        (Family.STRING, "varchar(9)", "'it''s'", True),
        (Family.INT32, "int", "(1 + 1)", False),
        # A number at the source.
        (Family.BOOLEAN, "bit(1)", "1", False),
    ],
)
def test_a_default_is_kept_or_named(family: Family, native: str, default: str, is_kept: bool) -> None:
    table = _table("mysql", family, native, default=default)
    assert (to_postgresql.translated(table).columns[0].default == default) is is_kept
    assert to_postgresql.losses(table) == ([] if is_kept else [f"c: the default {default} is left out"])


@pytest.mark.parametrize("server", [MYSQL, MARIADB], ids=["mysql", "mariadb"])
@pytest.mark.parametrize(
    ("native", "default", "kept"),
    [
        ("text", "'it'", "('it')"),
        ("longtext", "''", "('')"),
        # MySQL does not read a quote that it has printed itself.
        ("longtext", "'it''s'", "(convert(unhex('69742773') using utf8mb4))"),
        ("varchar(9)", "'it''s'", "'it''s'"),
    ],
)
def test_a_long_text_has_its_default_as_an_expression(server: Server, native: str, default: str, kept: str) -> None:
    """It was left out, and rows that were there had null where the source had the default of a new column."""
    table = _table("mysql", Family.STRING, native, default=default)
    assert [column.default for column in to_mysql.translated(table, server).columns] == [kept]
    assert to_mysql.losses(table, server) == []


def test_precision_json_and_words_of_the_two_servers() -> None:
    numeric = _table("postgresql", Family.DECIMAL, "numeric(5,2)", precision=5, scale=2)
    assert to_mysql.losses(numeric, MYSQL) == ["c: numeric(5,2) becomes decimal(5,2); NaN is refused"]
    wide = _table("postgresql", Family.DECIMAL, "numeric(80,40)", precision=80, scale=40)
    (said,) = to_mysql.losses(wide, MYSQL)
    assert said.endswith("becomes decimal(65,30); values that it does not hold, and NaN, are refused")
    (said,) = to_mysql.losses(_table("postgresql", Family.JSON, "jsonb"), MARIADB)
    assert said.endswith("its text; nested deeper than 32 it is refused")
    (said,) = to_mysql.losses(_table("mysql", Family.UUID, "uuid"), MYSQL)
    assert said == "c: uuid becomes char(36); its text"
    assert to_mysql.losses(_table("mysql", Family.UUID, "uuid"), MARIADB) == []
    (said,) = to_mysql.losses(_table("mysql", Family.STRING, "text character set latin1"), MYSQL)
    assert said == "c: text character set latin1 becomes mediumtext; in utf8mb4"


def test_what_a_table_has_besides_columns() -> None:
    index = Index("i", unique=False, definition="using gin (c)")
    computed = GeneratedColumn("g", "integer", "c + 1", 1)
    key = ForeignKey("k", ("c",), TableName("s", "u"), ("id",))
    table = _table("postgresql", Family.INT32, "integer", indexes=(index,), generated=(computed,), foreign_keys=(key,))
    assert to_mysql.losses(table, MYSQL) == ["g: a computed column is left out", "index i: left out (using gin (c))"]
    index = Index("i", unique=False, definition="using btree (`c`(5))")
    table = _table("mysql", Family.STRING, "text", indexes=(index,), generated=(computed,))
    assert to_postgresql.losses(table) == [
        "g: a virtual column has no values to carry, and is left out",
        "index i: left out (using btree (`c`(5)))",
    ]
    identity = _table("mysql", Family.UINT64, "bigint unsigned", identity="by default")
    assert to_postgresql.losses(identity)[1:] == [
        "c: numeric(20,0) counts no identity; the target gives out no numbers"
    ]
