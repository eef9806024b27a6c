"""Names that the servers take for equal, or not at all: known before a run, and never two things in one place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from apply.sink import TableBatch
from apply.sinks.mysql.findings import findings
from apply.sinks.mysql.sink import MysqlSink
from schemas.endpoints.mysql import MysqlTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Severity
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.kit.mysql import MysqlDatabase, folding_database

INT, TEXT = LogicalType(Family.INT64), LogicalType(Family.STRING)
ID, NOTE = Column("id", INT, "bigint", nullable=False), Column("note", TEXT, "text")


def table(name: str, *columns: Column) -> TableSchema:
    """Return a table whose key is the first column."""
    return TableSchema(TableName("public", name), columns, (0,))


def blocked(database: MysqlDatabase, *tables: TableSchema) -> list[tuple[str, str]]:
    """Return what `plan` says must not be: code and text."""
    found = findings("shop", "replica", MysqlTarget.model_validate(database.target_settings), tables)
    return [(one.code, one.message) for one in found if one.severity is Severity.BLOCKS]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("A", "a"), "columns 'A' and 'a' have one name at the target"),
        (("É", "é"), "columns 'É' and 'é' have one name"),
        (("end ",), "ends with a blank"),
        (("😀",), "beyond U+FFFF"),
    ],
)
def test_columns_that_cannot_be_are_refused_by_name(
    sink: MysqlSink, database: MysqlDatabase, names: tuple[str, ...], said: str
) -> None:
    one = table("one", ID, *(replace(NOTE, name=name) for name in names))
    ((code, message),) = blocked(database, one)
    assert (code, said in message) == ("target-name", True)
    with pytest.raises(TailraceError) as caught:
        sink.prepare(one)
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA
    assert said in caught.value.message
    assert "mapping rule" in (caught.value.remedy or "")


def test_letters_that_only_look_alike_are_columns_apart(sink: MysqlSink, database: MysqlDatabase) -> None:
    names = ("é", "e", "ß", "ss", "i", "ı")
    one = table("one", ID, *(replace(NOTE, name=name) for name in names))
    assert blocked(database, one) == []
    sink.prepare(one)
    assert sink.apply(TableBatch(one, upserts=[(1, *names)])) == []
    sink.flush()
    assert database.rows("select * from one") == [["1", *names]]


def test_a_users_table_may_spell_its_columns_in_another_case(sink: MysqlSink, database: MysqlDatabase) -> None:
    database.execute(
        "create table one (ID bigint primary key, Note longtext character set utf8mb4 collate utf8mb4_bin) "
        "engine = InnoDB"
    )
    one = table("one", ID, NOTE)
    assert blocked(database, one) == []
    sink.prepare(one)
    assert sink.apply(TableBatch(one, upserts=[(1, "a"), (2, "b")])) == []
    sink.flush()
    two = replace(table("one", ID, NOTE, Column("more", INT, "bigint")), version=2)
    sink.prepare(two)
    assert sink.apply(TableBatch(two, upserts=[(1, "c", 5)], deletes=[(2,)])) == []
    sink.flush()
    assert database.rows("select id, note, more from one") == [["1", "c", "5"]]
    # A renaming that leaves the case behind.
    three = replace(
        table("one", replace(ID, number=1), replace(NOTE, name="NOTES", number=2), Column("more", INT, "bigint")),
        version=3,
    )
    numbered = replace(table("one", replace(ID, number=1), replace(NOTE, number=2), Column("more", INT, "bigint")))
    sink.prepare(replace(numbered, version=3))
    sink.prepare(replace(three, version=4))
    assert sink.apply(TableBatch(replace(three, version=4), upserts=[(3, "d", 6)])) == []
    sink.flush()
    assert database.rows("select id, notes, more from one order by id") == [["1", "c", "5"], ["3", "d", "6"]]


@pytest.fixture(scope="module", params=["11.4", "mysql"])
def folding(request: pytest.FixtureRequest, servers_directory: Path) -> Iterator[MysqlDatabase]:
    """A database on a server that takes names of tables for equal which differ in case only."""
    with folding_database(servers_directory / f"folding-{request.param}", request.param) as database:
        yield database


def test_tables_that_a_target_takes_for_one_are_refused(folding: MysqlDatabase) -> None:
    """They were written into one table, without a word."""
    upper, lower = table("People", ID, NOTE), table("people", ID, NOTE)
    ((code, message),) = blocked(folding, upper, lower)
    assert code == "target-table-twice"
    assert message.startswith("public.People and public.people")
    sink = MysqlSink("shop", "replica", MysqlTarget.model_validate(folding.target_settings))
    try:
        sink.prepare(upper)
        assert sink.apply(TableBatch(upper, upserts=[(1, "upper")])) == []
        sink.flush()
        with pytest.raises(TailraceError) as caught:
            sink.prepare(lower)
        assert caught.value.kind is ErrorKind.TARGET_SCHEMA
        assert "public.People" in caught.value.message
    finally:
        sink.close()
    assert folding.rows("select * from people") == [["1", "upper"]]
